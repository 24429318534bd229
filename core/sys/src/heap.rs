//! The memory that the allocator keeps.

/// Gives free memory of the allocator back to the system (malloc_trim(3)).
///
/// glibc keeps what a thread has freed in an arena of that thread, also when the thread has ended. What a start or a
/// reload needs once is then resident for the life of the process. Elsewhere than on glibc this does nothing.
pub fn release_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        unsafe extern "C" {
            fn malloc_trim(pad: usize) -> core::ffi::c_int;
        }
        // SAFETY: it takes a number, locks what it looks at, and gives back only pages that hold
        // no allocation.
        unsafe { malloc_trim(0) };
    }
}
