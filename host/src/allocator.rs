//! Keeps the memory that the allocator holds on to small, so that a server is as large after a job as before it.
//!
//! glibc serves threads from several arenas. By default it learns from the first large blocks to keep later ones, in each arena: after jobs
//! with large outputs a server kept hundreds of megabytes. Other allocators need none of this.

/// Makes the allocator return large blocks to the system when they are freed. Batches stay below the threshold, because returning their
/// blocks costs more than keeping them. Call it before threads are started.
pub fn return_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const KEPT_BLOCK_BYTES_MAX: i32 = 4 << 20;
        const KEPT_AT_END_OF_ARENA_BYTES_MAX: i32 = 8 << 20;
        // SAFETY: the calls change two numbers of the allocator.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT_BLOCK_BYTES_MAX);
            libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT_AT_END_OF_ARENA_BYTES_MAX);
        }
    }
}

/// Returns free memory of all arenas to the system. Takes some milliseconds. Called when a job has ended.
pub fn return_free_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call may be made by any thread at any time.
    unsafe {
        libc::malloc_trim(0);
    }
}
