//! Compiles components: `compiler` in a child process that `compile_child` implements, with the results in `code_cache`.

mod code_cache;
#[cfg(test)]
mod code_cache_tests;
mod compile_child;
mod compiler;

pub(super) use code_cache::CodeCache;
pub use code_cache::CodeCacheFolder;
pub use compile_child::{COMPILE_COMMAND, CompileLimits, compile_child};
pub use compiler::{CompileMode, is_large_component};
pub(super) use compiler::{Compiler, compile_stopped};
