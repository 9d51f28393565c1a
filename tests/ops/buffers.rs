//! Memory of every device, and the names of devices.

use recis::Error;
use recis::device::{Buffer, Device, Growing, Stream};
use recis::ops::relu;

use crate::common::{each, each_with_kernels, many_or_few, on, read, streams};

#[test]
fn what_goes_to_a_device_comes_back() {
    each(|stream| {
        for n in [0, 1, 3, 4097, 300_000] {
            let values: Vec<i64> = (0..n).map(|i| i * i - 5).collect();
            let buffer = on(&values[..], stream);
            assert_eq!(
                (buffer.len(), buffer.is_empty(), buffer.device()),
                (n as usize, n == 0, stream.device())
            );
            assert_eq!(read(&buffer, stream), values);
        }
        assert_eq!(read(&on([-1i8], stream), stream), [-1]);
        assert_eq!(read(&on([f64::MIN_POSITIVE, -0.0], stream), stream), [f64::MIN_POSITIVE, -0.0]);
        assert_eq!(read(&Buffer::<u32>::zeros(1000, stream).unwrap(), stream), [0; 1000]);
        assert!(read(&Buffer::<f32>::zeros(0, stream).unwrap(), stream).is_empty());
        assert_eq!(Buffer::<f32>::unset(7, stream).unwrap().len(), 7);
        assert_eq!(on([1, 2], stream), Buffer::from(vec![1, 2]), "compared across devices");
        assert_ne!(on([1, 2], stream), Buffer::from(vec![1, 3]));
        assert_ne!(on([1, 2], stream), Buffer::from(vec![1]));
    });
}

#[test]
fn copies_go_from_every_device_to_every_other() {
    for from in &streams() {
        for to in &streams() {
            for n in [0, 1, 70_001] {
                let values: Vec<u32> = (0..n).collect();
                let copy = on(&values[..], from).copy_to(to).unwrap();
                assert_eq!(copy.device(), to.device());
                assert_eq!(read(&copy, to), values, "{from:?} to {to:?}");
                let back = copy.copy_to(&Stream::default()).unwrap();
                assert_eq!((back.device(), back.host()), (Device::Cpu, &values[..]));
            }
        }
    }
}

/// On a device each step is enqueued while the ones before run: a wait that is missing shows in what is read.
#[test]
fn several_streams_read_a_buffer_and_one_writes_when_they_are_done() {
    for stream in &streams() {
        let others: Vec<_> = (0..3).map(|_| Stream::new(stream.device()).unwrap()).collect();
        let len = many_or_few(1 << 24, 1 << 8, stream);
        let mut shared = Buffer::<u32>::zeros(len, stream).unwrap();
        let mut copies: Vec<_> =
            others.iter().map(|other| Buffer::<u32>::unset(len, other).unwrap()).collect();
        for round in 0..20u8 {
            // Now one of them writes, now another.
            let writer = [stream, &others[0], &others[1]][usize::from(round) % 3];
            shared.fill_bytes(round, writer).unwrap();
            for (copy, other) in copies.iter_mut().zip(&others) {
                copy.copy_from(&shared, other).unwrap();
            }
            shared.fill_bytes(0xff, stream).unwrap();
            for (copy, other) in copies.iter().zip(&others) {
                let expected = u32::from_le_bytes([round; 4]);
                assert!(read(copy, other).iter().all(|&value| value == expected), "round {round}");
            }
        }
    }
}

#[test]
fn memory_that_another_stream_still_reads_is_not_given_out_again() {
    for stream in &streams() {
        let other = Stream::new(stream.device()).unwrap();
        let len = many_or_few(1 << 24, 1 << 8, stream);
        let mut copy = Buffer::<u32>::unset(len, &other).unwrap();
        for round in 0..20u8 {
            let mut source = Buffer::<u32>::unset(len, stream).unwrap();
            source.fill_bytes(round, stream).unwrap();
            copy.copy_from(&source, &other).unwrap();
            drop(source);
            let mut next = Buffer::<u32>::unset(len, stream).unwrap();
            next.fill_bytes(0xff, stream).unwrap();
            let expected = u32::from_le_bytes([round; 4]);
            assert!(read(&copy, &other).iter().all(|&value| value == expected), "round {round}");
            stream.give_back_memory().unwrap();
        }
    }
}

#[test]
fn clones_are_one_until_they_are_written_to() {
    each(|stream| {
        let first = on([1u32, 2, 3], stream);
        let (mut second, third) = (first.clone(), first.copy_to(stream).unwrap());
        second.fill_bytes(0xff, stream).unwrap();
        assert_eq!(read(&second, stream), [u32::MAX; 3]);
        assert_eq!((read(&first, stream), read(&third, stream)), (vec![1, 2, 3], vec![1, 2, 3]));
        if matches!(stream.device(), Device::Cuda(_)) {
            return;
        }
        assert_eq!(first.host().as_ptr(), third.host().as_ptr(), "a copy to where they are");
        assert_ne!(first.host().as_ptr(), second.host().as_ptr());
    });
}

#[test]
fn writing_to_a_clone_keeps_the_rest_of_it() {
    each(|stream| {
        // An operation that writes where it reads: the clone takes the elements along.
        let first = on([-1.0, 2.0], stream);
        let mut second = first.clone();
        recis::ops::scale::forward(&mut second, 2.0, stream).unwrap();
        assert_eq!((read(&first, stream), read(&second, stream)), (vec![-1.0, 2.0], vec![-2.0, 4.0]));
    });
}

#[test]
fn lengths_change_within_and_beyond_the_room() {
    each(|stream| {
        let mut buffer = on([1i64, 2, 3, 4], stream);
        buffer.resize(2, stream).unwrap();
        assert_eq!(read(&buffer, stream), [1, 2]);
        buffer.resize(0, stream).unwrap();
        assert!(buffer.is_empty() && read(&buffer, stream).is_empty());
        buffer.resize(100_000, stream).unwrap();
        assert_eq!((buffer.len(), buffer.device()), (100_000, stream.device()));
        buffer.fill_bytes(0, stream).unwrap();
        assert_eq!(read(&buffer, stream), vec![0; 100_000]);

        // A clone is not touched.
        let first = on([1i64, 2, 3], stream);
        let mut second = first.clone();
        second.resize(1, stream).unwrap();
        second.fill_bytes(0, stream).unwrap();
        assert_eq!((read(&first, stream), read(&second, stream)), (vec![1, 2, 3], vec![0]));

        // It may come from another device.
        let mut other = Buffer::from(vec![1u8]);
        other.resize(5, stream).unwrap();
        assert_eq!((other.len(), other.device()), (5, stream.device()));
    });
}

#[test]
fn what_gets_shorter_keeps_its_first_elements() {
    each(|stream| {
        let first = on([1, 2, 3], stream);
        let mut second = first.clone();
        second.resize(2, stream).unwrap();
        assert_eq!((read(&first, stream), read(&second, stream)), (vec![1, 2, 3], vec![1, 2]));
    });
}

#[test]
fn a_read_back_has_what_was_there_when_it_was_asked_for() {
    each(|stream| {
        for n in [0usize, 1, 5000] {
            let values: Vec<u32> = (0..n as u32).map(|i| i + 1).collect();
            let mut buffer = on(&values[..], stream);
            let before = buffer.read_back(stream).unwrap();
            buffer.fill_bytes(0, stream).unwrap();
            let after = buffer.read_back(stream).unwrap();
            stream.synchronize().unwrap();
            assert!(before.is_ready() && after.is_ready());
            assert_eq!((before.wait().unwrap(), after.wait().unwrap()), (values, vec![0; n]));
        }
        // One that nobody waits for.
        drop(on([1], stream).read_back(stream).unwrap());
    });
}

#[test]
fn buffers_of_another_device_are_refused() {
    each_with_kernels(|stream| {
        let (there, here) = (on([1.0], stream), Buffer::from(vec![1.0]));
        let (mut there_too, mut here_too) = (there.clone(), here.clone());
        let device = stream.device();
        let expected = format!("device {device}: a buffer of cpu is used on {device}");
        for error in [
            relu::forward(&here, &mut there_too, stream),
            relu::forward(&there, &mut here_too, stream),
            here_too.fill_bytes(0, stream),
        ] {
            let error = error.unwrap_err();
            assert!(matches!(error, Error::Device { .. }));
            assert_eq!(error.to_string(), expected);
        }
        let error = there_too.fill_bytes(0, &Stream::default()).unwrap_err().to_string();
        assert_eq!(error, format!("device cpu: a buffer of {device} is used on cpu"));
        assert_eq!((read(&there_too, stream), here_too.host()), (vec![1.0], &[1.0][..]));
    });
}

#[test]
fn events_follow_the_order_of_the_stream() {
    each(|stream| {
        let first = stream.record().unwrap();
        let mut buffer = Buffer::<u8>::zeros(1 << 20, stream).unwrap();
        buffer.fill_bytes(1, stream).unwrap();
        let second = stream.record().unwrap();
        second.synchronize().unwrap();
        assert!(first.is_complete() && second.is_complete());
        assert!(second.seconds_since(&first).unwrap() >= 0.0);
        assert_eq!(format!("{stream:?}"), format!("Stream({})", stream.device()));
    });
}

#[test]
fn growing_arrays_stay_where_they_are() {
    each(|stream| {
        let mut growing = Growing::<u32>::new(stream).unwrap();
        assert_eq!(growing.capacity(), 0);
        growing.grow(0).unwrap();
        assert_eq!(growing.capacity(), 0);
        growing.grow(1).unwrap();
        let first = growing.capacity();
        assert!(first >= 1);
        let on_host = !matches!(stream.device(), Device::Cuda(_));
        let address = on_host.then(|| {
            growing.host_mut().iter_mut().zip(7..).for_each(|(element, value)| *element = value);
            growing.host().as_ptr()
        });
        growing.grow(1).unwrap();
        assert_eq!(growing.capacity(), first, "there was room");
        growing.grow(first + 1).unwrap();
        growing.grow(3 << 20).unwrap();
        assert!(growing.capacity() >= 3 << 20);
        let Some(address) = address else { return };
        assert_eq!(growing.host().as_ptr(), address);
        assert!(growing.host()[..first].iter().zip(7..).all(|(&element, value)| element == value));
        // The new elements can be written to, to the last.
        *growing.host_mut().last_mut().unwrap() = 1;
    });
}

#[test]
fn sizes_that_no_machine_has_are_refused() {
    each(|stream| {
        let mut growing = Growing::<f32>::new(stream).unwrap();
        growing.grow(1).unwrap();
        let before = growing.capacity();
        for (len, bytes) in [(1 << 50, 1usize << 52), (usize::MAX, usize::MAX)] {
            let error = growing.grow(len).unwrap_err().to_string();
            let expected = format!(
                "device {}: no memory for {bytes} bytes of rows: the table is larger than any that was foreseen",
                stream.device()
            );
            assert_eq!(error, expected);
        }
        assert_eq!(growing.capacity(), before);
        growing.grow(before + 1).unwrap();
    });
}

#[test]
fn names_of_devices_are_read_and_shown() {
    for (name, device) in [
        ("cpu", Device::Cpu),
        ("cuda", Device::Cuda(0)),
        ("cuda:0", Device::Cuda(0)),
        ("cuda:12", Device::Cuda(12)),
    ] {
        assert_eq!(name.parse::<Device>().unwrap(), device);
    }
    for device in [Device::Cpu, Device::Cuda(3)] {
        assert_eq!(device.to_string().parse::<Device>().unwrap(), device);
    }
    assert_eq!((Device::Simt.to_string(), Device::default()), ("simt".into(), Device::Cpu));
    for name in ["", "gpu", "CPU", "cuda:", "cuda:-1", "cuda:x", "cuda0", "cpu:0", "simt", " cpu"] {
        let error = name.parse::<Device>().unwrap_err().to_string();
        assert_eq!(error, format!("device {name}: unknown; one of auto, cpu, cuda:N"));
    }
}

#[test]
fn a_device_that_cannot_be_used_says_why() {
    let devices = Device::available();
    assert_eq!(devices[0], Device::Cpu);
    for device in &devices {
        device.check().unwrap();
        Stream::new(*device).unwrap();
    }
    let missing = Device::Cuda(99);
    let error = missing.check().unwrap_err().to_string();
    let count = devices.len() - 1;
    if count > 0 {
        assert_eq!(error, format!("device cuda:99: there are {count} CUDA devices, numbered from 0"));
    } else {
        assert!(error.starts_with("device cuda:99: ") && error.ends_with("; use cpu or auto"), "{error}");
    }
    assert_eq!(Stream::new(missing).unwrap_err().to_string(), error);
    assert_eq!(Device::choose("cuda:99").unwrap_err().to_string(), error);

    assert_eq!(Device::choose("cpu").unwrap(), (Device::Cpu, "asked for".into()));
    assert!(Device::choose("gpu").is_err());
    let (chosen, why) = Device::choose("auto").unwrap();
    if count > 0 {
        assert_eq!((chosen, why.as_str()), (Device::Cuda(0), "the first CUDA device"));
    } else {
        assert!(chosen == Device::Cpu && why.starts_with("no CUDA device: "), "{why}");
    }
}
