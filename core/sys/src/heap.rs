//! The memory that the allocator keeps.

/// Makes the allocator keep one arena, and give large blocks back to the system when they are freed
/// (mallopt(3)).
///
/// glibc gives each thread an arena of its own, and raises what it takes for large with each large
/// block that is freed: what a start or a reload needs once then lies between what stays. A daemon
/// that allocates nothing in its steady state has nothing to gain from either. Elsewhere than on glibc
/// this does nothing. Called before the first other thread starts, or it has less effect.
pub fn keep_heap_small() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const LARGE: libc::c_int = 128 << 10;
        // SAFETY: it takes two numbers, which are ones that glibc knows, and changes settings of the
        // allocator under its lock.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 1);
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        }
    }
}

/// Gives free memory of the allocator back to the system (malloc_trim(3)).
///
/// glibc keeps what has been freed. What a start or a reload needs once is then resident for the life
/// of the process. Elsewhere than on glibc this does nothing.
pub fn release_heap() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        // SAFETY: it takes a number, locks what it looks at, and gives back only pages that hold
        // no allocation.
        unsafe { libc::malloc_trim(0) };
    }
}
