//! Reading makes megabytes that live for milliseconds.

/// Tells glibc to keep freed memory instead of returning it to the system, whose zeroing of it again
/// takes up to half of the time of reading. Does nothing with another C library.
pub fn keep_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only sets parameters of malloc, and no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 30);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}
