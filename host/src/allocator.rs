//! Keeps the memory that the allocator and stacks hold on to small, so that a server is as large after a job as before it, and a job that
//! has little to do is small.
//!
//! glibc serves threads from several arenas. By default it learns from the first large blocks to keep later ones, in each arena: after jobs
//! with large outputs a server kept hundreds of megabytes. Nor does it return the end of an arena but that of the main one when it is asked
//! to, so the number of arenas and the size of their ends are limited here. Other allocators need none of this.

/// Makes the allocator return large blocks to the system when they are freed. Batches stay below the threshold, because returning their
/// blocks costs more than keeping them. Call it before threads are started.
pub fn return_large_blocks() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const KEPT_BLOCK_BYTES_MAX: i32 = 4 << 20;
        const KEPT_AT_END_OF_ARENA_BYTES_MAX: i32 = 2 << 20;
        // More threads than that rarely allocate at the same moment.
        const ARENAS_PER_CORE: usize = 2;
        const ARENAS_MIN: usize = 4;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let arenas = i32::try_from((cores * ARENAS_PER_CORE).max(ARENAS_MIN)).unwrap_or(i32::MAX);
        // SAFETY: the calls change three numbers of the allocator.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, arenas);
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

/// Shortest time between two returns of a thread's unused stack, in nanoseconds.
const STACK_RETURN_INTERVAL_NS: u64 = 500_000_000;

/// Returns the unused part of a thread's stack to the system while the thread waits. Opening state and creating an instance take several
/// times the stack of a turn, and a turn that of a wait.
#[derive(Debug, Default)]
pub struct StackReturns {
    /// When the unused part was returned last, by the monotonic clock.
    returned_ns: Option<u64>,
}

impl StackReturns {
    /// Call it before a wait, on a thread that the process has started. Costs some microseconds, at most twice a second.
    #[inline]
    pub fn before_wait(&mut self, now_ns: u64) {
        if self.returned_ns.is_none_or(|returned_ns| now_ns.saturating_sub(returned_ns) >= STACK_RETURN_INTERVAL_NS) {
            self.returned_ns = Some(now_ns);
            return_unused_stack();
        }
    }
}

/// Returns the part of the current thread's stack to the system that no function uses now.
#[inline(never)]
fn return_unused_stack() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        /// Room for the frame of `madvise`, which is the only other one while the pages are returned.
        const KEPT_BYTES: usize = 4 << 10;
        let marker = 0_u8;
        let used_from = std::ptr::from_ref(std::hint::black_box(&marker)).addr();
        // SAFETY: `attributes` is initialized by the first call, and destroyed by the last. The stack grows downwards, so nothing lives
        // between its lower end and the frame of this function but the frame of `madvise`, which takes less than `KEPT_BYTES`. The pages stay mapped, and are zero when they are used again.
        unsafe {
            let mut attributes: libc::pthread_attr_t = std::mem::zeroed();
            if libc::pthread_getattr_np(libc::pthread_self(), &raw mut attributes) != 0 {
                return;
            }
            let (mut lowest, mut size) = (std::ptr::null_mut(), 0);
            let found = libc::pthread_attr_getstack(&raw const attributes, &raw mut lowest, &raw mut size);
            libc::pthread_attr_destroy(&raw mut attributes);
            let page = usize::try_from(libc::sysconf(libc::_SC_PAGESIZE)).unwrap_or(KEPT_BYTES).max(1);
            let unused = used_from.saturating_sub(lowest.addr()).saturating_sub(KEPT_BYTES) / page * page;
            if found == 0 && unused < size {
                libc::madvise(lowest, unused, libc::MADV_DONTNEED);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Uses about 400 KiB of stack.
    fn deep(levels: u32) -> u64 {
        let filled = std::hint::black_box([levels as u8; 4096]);
        let below = if levels == 0 { 0 } else { deep(levels - 1) };
        below + u64::from(filled[levels as usize])
    }

    #[cfg(target_os = "linux")]
    fn resident_bytes_of_stack() -> u64 {
        let here = 0_u8;
        let address = std::ptr::from_ref(std::hint::black_box(&here)).addr();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let mut is_stack = false;
        for line in maps.lines() {
            let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
            let range = range.and_then(|(from, to)| {
                Some((usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?))
            });
            if let Some((from, to)) = range {
                is_stack = (from..to).contains(&address);
            } else if let Some(kib) = line.strip_prefix("Rss:").filter(|_| is_stack) {
                return kib.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10;
            }
        }
        panic!("the stack is not mapped");
    }

    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    #[test]
    fn the_unused_part_of_a_stack_is_returned_and_can_be_used_again() {
        let thread = std::thread::Builder::new().stack_size(4 << 20).spawn(|| {
            let sum = deep(100);
            assert!(resident_bytes_of_stack() > 400 << 10);
            let kept = std::hint::black_box([7_u8; 1000]);
            let mut returns = StackReturns::default();
            returns.before_wait(0);
            let resident = resident_bytes_of_stack();
            assert!(resident < 200 << 10, "{resident} bytes are resident");
            assert_eq!(kept, [7; 1000]);
            assert_eq!(deep(100), sum);
        });
        thread.unwrap().join().unwrap();
    }
}
