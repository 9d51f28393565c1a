//! Memory and streams that the program has from elsewhere.

use std::any::Any;
use std::sync::Arc;

use recis::cudarc::driver::sys::{CUgraphInstantiate_flags, CUstreamCaptureMode};
use recis::cudarc::driver::{CudaContext, CudaStream, DevicePtr};
use recis::device::{Buffer, Device, Stream};
use recis::ops::scale;
use recis::{Error, cudarc};

use crate::common::{each, on, read};

/// Memory that is not ours, and what keeps it.
fn outside(values: &[f32], stream: &Stream) -> (*mut f32, Arc<dyn Any + Send + Sync>) {
    match stream.cuda_stream() {
        Some(cuda) => {
            let slice = cuda.clone_htod(values).unwrap();
            let pointer = slice.device_ptr(cuda).0;
            (std::ptr::with_exposed_provenance_mut(pointer as usize), Arc::new(slice))
        }
        None => {
            let buffer = on(values, stream);
            (buffer.host().as_ptr().cast_mut(), Arc::new(buffer))
        }
    }
}

#[test]
fn borrowed_memory_is_used_where_it_is() {
    each(|stream| {
        let (pointer, owner) = outside(&[1.0, 2.0, 3.0], stream);
        // SAFETY: `owner` keeps three numbers on the stream's device, and work is on `stream` alone.
        let borrow = |len| unsafe { Buffer::from_raw(pointer, len, owner.clone(), stream) }.unwrap();
        let mut buffer = borrow(3);
        assert_eq!((buffer.len(), buffer.device()), (3, stream.device()));
        assert_eq!(Arc::strong_count(&owner), 2);
        scale::forward(&mut buffer, 2.0, stream).unwrap();
        assert_eq!(read(&buffer, stream), [2.0, 4.0, 6.0]);
        assert_eq!(read(&borrow(2), stream), [2.0, 4.0]);
        assert_eq!(buffer.copy_to(&Stream::default()).unwrap().host(), [2.0, 4.0, 6.0]);

        // What is written to a clone stays out of it.
        let mut clone = buffer.clone();
        scale::forward(&mut clone, 2.0, stream).unwrap();
        assert_eq!((read(&clone, stream), read(&borrow(3), stream)), (vec![4., 8., 12.], vec![2., 4., 6.]));
        assert_eq!(Arc::strong_count(&owner), 2);
        drop(buffer);
        assert_eq!(Arc::strong_count(&owner), 1);

        // It is let go of when it is too small.
        let mut buffer = borrow(3);
        buffer.resize(2, stream).unwrap();
        assert_eq!((read(&buffer, stream), Arc::strong_count(&owner)), (vec![2.0, 4.0], 2));
        buffer.resize(4, stream).unwrap();
        assert_eq!((buffer.len(), Arc::strong_count(&owner)), (4, 1));
    });
}

/// What is enqueued may be captured in a graph, in which each kernel still waits for the one before.
#[test]
fn launches_are_captured_and_replayed() {
    each(|stream| {
        let Some(cuda) = stream.cuda_stream() else { return };
        let mut buffer = on(vec![1.0f32; 1 << 20], stream);
        stream.synchronize().unwrap();
        cuda.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).unwrap();
        for factor in [3.0, 0.5, 4.0] {
            scale::forward(&mut buffer, factor, stream).unwrap();
        }
        let flags = CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
        let graph = cuda.end_capture(flags).unwrap().unwrap();
        assert!(read(&buffer, stream).iter().all(|&x| x == 1.0));
        graph.launch().unwrap();
        graph.launch().unwrap();
        assert!(read(&buffer, stream).iter().all(|&x| x == 36.0));
    });
}

#[test]
fn pointers_that_cannot_be_are_refused() {
    each(|stream| {
        let owner: Arc<dyn Any + Send + Sync> = Arc::new(());
        // SAFETY: none of these is used.
        let borrow = |pointer, len| unsafe { Buffer::<f32>::from_raw(pointer, len, owner.clone(), stream) };
        let misaligned = std::ptr::without_provenance_mut::<f32>(18);
        for (pointer, len) in
            [(std::ptr::null_mut(), 1), (misaligned, 1), (misaligned.wrapping_byte_sub(2), 1 << 62)]
        {
            let error = borrow(pointer, len).unwrap_err();
            assert!(matches!(error, Error::Shape { op: "buffer", .. }), "{error}");
        }
        assert!(read(&borrow(std::ptr::null_mut(), 0).unwrap(), stream).is_empty());
        assert_eq!(Arc::strong_count(&owner), 1);
    });
}

#[test]
fn kernels_refuse_borrowed_memory_that_is_not_aligned_for_them() {
    each(|stream| {
        let (pointer, owner) = outside(&[1.0; 8], stream);
        // SAFETY: `owner` keeps the numbers on the stream's device, and work is on `stream` alone.
        let mut buffer = unsafe { Buffer::from_raw(pointer.wrapping_add(1), 4, owner, stream) }.unwrap();
        let scaled = scale::forward(&mut buffer, 2.0, stream);
        if stream.device() == Device::Cpu {
            scaled.unwrap();
            assert_eq!(read(&buffer, stream), [2.0; 4]);
        } else {
            let error = scaled.unwrap_err().to_string();
            assert!(error.contains("aligned"), "{error}");
            assert_eq!(read(&buffer, stream), [1.0; 4]);
        }
    });
}

#[test]
fn on_the_host_there_is_nothing_of_cudarc() {
    each(|stream| {
        if matches!(stream.device(), Device::Cuda(_)) {
            return;
        }
        assert!(stream.cuda_stream().is_none());
        let error = on([1.0], stream).into_cuda_slice(stream).unwrap_err().to_string();
        assert_eq!(error, format!("device {}: cudarc's arrays are on CUDA devices", stream.device()));
    });
}

/// Runs a test on every CUDA device, in a context of the program's own.
fn each_cuda(test: impl Fn(&Arc<CudaContext>)) {
    each(|stream| {
        if let Device::Cuda(ordinal) = stream.device() {
            test(&CudaContext::new(ordinal).unwrap());
        }
    });
}

fn address<T>(slice: &cudarc::driver::CudaSlice<T>, stream: &CudaStream) -> u64 {
    slice.device_ptr(stream).0
}

#[test]
fn streams_and_arrays_of_cudarc_are_taken_as_they_are() {
    each_cuda(|context| {
        for theirs in [context.default_stream(), context.new_stream().unwrap(), context.new_stream().unwrap()]
        {
            let stream = Stream::from_cudarc(theirs.clone()).unwrap();
            assert_eq!(stream.device(), Device::Cuda(context.ordinal()));
            assert!(Arc::ptr_eq(stream.cuda_stream().unwrap(), &theirs));

            let slice = theirs.clone_htod(&[1.0f32, 2.0, 3.0]).unwrap();
            let at = address(&slice, &theirs);
            let mut buffer = Buffer::from_cuda_slice(slice).unwrap();
            scale::forward(&mut buffer, 2.0, &stream).unwrap();
            let clone = buffer.clone();
            let copied = buffer.into_cuda_slice(&stream).unwrap();
            assert_ne!(address(&copied, &theirs), at, "a clone still needs the memory");
            let moved = clone.into_cuda_slice(&stream).unwrap();
            assert_eq!(address(&moved, &theirs), at);
            for slice in [copied, moved] {
                assert_eq!(theirs.clone_dtoh(&slice).unwrap(), [2.0, 4.0, 6.0]);
            }
        }
    });
}

#[test]
fn arrays_go_from_stream_to_stream_in_order() {
    each_cuda(|context| {
        let [first, second] = [context.new_stream().unwrap(), context.new_stream().unwrap()];
        let ours = Stream::new(Device::Cuda(context.ordinal())).unwrap();
        let n = 1 << 22;
        for round in 0..10 {
            // Written on one of their streams, worked on on ours, read on another of theirs.
            let slice = first.clone_htod(&vec![round as f32; n]).unwrap();
            let mut buffer = Buffer::from_cuda_slice(slice).unwrap();
            scale::forward(&mut buffer, 3.0, &ours).unwrap();
            let theirs = Stream::from_cudarc(second.clone()).unwrap();
            let slice = buffer.into_cuda_slice(&theirs).unwrap();
            assert!(first.clone_dtoh(&slice).unwrap().iter().all(|&value| value == 3.0 * round as f32));
        }
    });
}

#[test]
fn streams_without_an_order_of_ours_are_refused() {
    each_cuda(|context| {
        let error = Stream::from_cudarc(context.per_thread_stream()).unwrap_err().to_string();
        assert!(error.ends_with("another one in every thread: make a stream"), "{error}");
        let other = CudaContext::new_non_primary(context.ordinal(), 0).unwrap();
        let stream = other.new_stream().unwrap();
        let slice = stream.clone_htod(&[1.0f32]).unwrap();
        for error in [Stream::from_cudarc(stream).unwrap_err(), Buffer::from_cuda_slice(slice).unwrap_err()] {
            assert!(
                matches!(&error, Error::Device { what, .. } if what.contains("primary context")),
                "{error}"
            );
        }
        context.bind_to_thread().unwrap();
    });
}
