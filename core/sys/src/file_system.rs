//! What statfs(2) says and rustix keeps to itself.

use rustix::fs::{Fsid, StatFs};

/// Which file system it is (`f_fsid`); 0 of one that does not say. The kernel makes it of an identifier or of the
/// device (`struct kstatfs` in include/linux/statfs.h); it tells file systems apart and says nothing else.
pub fn file_system_id(status: &StatFs) -> u64 {
    // SAFETY: the type is `fsid_t` of statfs(2), two numbers of 32 bits and nothing beside them; the compiler
    // refuses another size, and any bits are numbers.
    let [first, second] = unsafe { std::mem::transmute::<Fsid, [u32; 2]>(status.f_fsid) };
    u64::from(first) << 32 | u64::from(second)
}
