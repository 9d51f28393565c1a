//! NCCL's functions. cudarc has them too, but looks for `libnccl.so`, which only development packages
//! bring, and panics where a function is missing.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::sync::OnceLock;

use crate::{Error, Result};

/// What ranks of one communicator know it by.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct UniqueId(pub [c_char; 128]);

/// NCCL's communicator.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
pub struct Comm(pub *mut c_void);

// SAFETY: NCCL's communicators may be used from any thread; only one at a time, which callers see to,
// except to ask for errors and to abort.
unsafe impl Send for Comm {}
unsafe impl Sync for Comm {}

type Status = c_int;
type Stream = *mut c_void;

/// The first three of NCCL's statuses that are no error are 0, and 7: in progress.
const IN_PROGRESS: Status = 7;

macro_rules! functions {
    ($($name:ident = $symbol:literal: fn($($argument:ty),*) -> $result:ty;)*) => {
        /// The functions of the library that was found.
        pub struct Library {
            $(pub $name: unsafe extern "C" fn($($argument),*) -> $result,)*
        }

        impl Library {
            /// Takes the functions out of an open library.
            fn open(handle: *mut c_void, path: &str) -> Result<Self, String> {
                Ok(Self {
                    $($name: {
                        let symbol = symbol(handle, $symbol, path)?;
                        // SAFETY: NCCL's function of that name has this type since version 2.7.
                        unsafe { std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) -> $result>(symbol) }
                    },)*
                })
            }
        }
    };
}

functions! {
    get_version = c"ncclGetVersion": fn(*mut c_int) -> Status;
    get_unique_id = c"ncclGetUniqueId": fn(*mut UniqueId) -> Status;
    comm_init_rank = c"ncclCommInitRank": fn(*mut Comm, c_int, UniqueId, c_int) -> Status;
    comm_destroy = c"ncclCommDestroy": fn(Comm) -> Status;
    comm_abort = c"ncclCommAbort": fn(Comm) -> Status;
    comm_get_async_error = c"ncclCommGetAsyncError": fn(Comm, *mut Status) -> Status;
    get_error_string = c"ncclGetErrorString": fn(Status) -> *const c_char;
    all_reduce = c"ncclAllReduce": fn(*const c_void, *mut c_void, usize, c_int, c_int, Comm, Stream) -> Status;
    all_gather = c"ncclAllGather": fn(*const c_void, *mut c_void, usize, c_int, Comm, Stream) -> Status;
    broadcast = c"ncclBroadcast": fn(*const c_void, *mut c_void, usize, c_int, c_int, Comm, Stream) -> Status;
    send = c"ncclSend": fn(*const c_void, usize, c_int, c_int, Comm, Stream) -> Status;
    recv = c"ncclRecv": fn(*mut c_void, usize, c_int, c_int, Comm, Stream) -> Status;
    group_start = c"ncclGroupStart": fn() -> Status;
    group_end = c"ncclGroupEnd": fn() -> Status;
}

/// The names under which NCCL is installed: by its packages, and by its development packages.
const NAMES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];

impl Library {
    /// NCCL, opened on first use: the file that `RECIS_NCCL` names, or the one the system finds.
    ///
    /// # Errors
    /// It is not there, or is none.
    pub fn get() -> Result<&'static Self> {
        static LIBRARY: OnceLock<Result<Library, String>> = OnceLock::new();
        let found = LIBRARY.get_or_init(|| match std::env::var("RECIS_NCCL") {
            Ok(path) => Self::load(&path),
            Err(_) => {
                let mut tries = NAMES.iter().map(|name| Self::load(name));
                let found = tries.find(Result::is_ok);
                found.unwrap_or_else(|| {
                    Err(format!(
                        "NCCL ({}) is not installed where the system looks; name the file with RECIS_NCCL",
                        NAMES[0]
                    ))
                })
            }
        });
        found.as_ref().map_err(|what| Error::Cuda(what.clone()))
    }

    fn load(path: &str) -> Result<Self, String> {
        let name = CString::new(path).map_err(|_| format!("RECIS_NCCL is no path: {path:?}"))?;
        // SAFETY: opening a library runs its own code only.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            return Err(format!("NCCL cannot be opened: {}", last_error()));
        }
        Self::open(handle, path)
    }

    /// Turns a status into a result; `what` was to be done.
    pub fn check(&self, what: &str, status: Status) -> Result<()> {
        if status == 0 || status == IN_PROGRESS {
            return Ok(());
        }
        Err(Error::Cuda(format!("cannot {what}: NCCL says '{}'", self.text(status))))
    }

    /// What went wrong since, if anything, in words.
    pub fn async_error(&self, comm: Comm) -> Option<String> {
        let mut status = 0;
        // SAFETY: the communicator is alive; asking is allowed at any time.
        let asked = unsafe { (self.comm_get_async_error)(comm, &raw mut status) };
        [asked, status].into_iter().find(|s| *s != 0 && *s != IN_PROGRESS).map(|s| self.text(s))
    }

    fn text(&self, status: Status) -> String {
        // SAFETY: NCCL gives a constant for any status.
        unsafe { CStr::from_ptr((self.get_error_string)(status)) }.to_string_lossy().into_owned()
    }
}

fn symbol(handle: *mut c_void, name: &CStr, path: &str) -> Result<*mut c_void, String> {
    // SAFETY: the handle is open, and stays so.
    let found = unsafe { libc::dlsym(handle, name.as_ptr()) };
    if found.is_null() {
        return Err(format!("{path} has no {}: NCCL 2.7 or newer is needed", name.to_string_lossy()));
    }
    Ok(found)
}

fn last_error() -> String {
    // SAFETY: gives a string of this thread, or null.
    let text = unsafe { libc::dlerror() };
    if text.is_null() {
        return "no reason is given".into();
    }
    // SAFETY: as above.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
