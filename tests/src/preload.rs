//! Libraries in C that a server preloads, so that a test watches its system calls or makes them fail.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What all libraries begin with. `from_root` returns a path that begins at an open folder, as a path from the root: the
/// server renames within open folders, `/proc/self/fd/N/NAME`. `whole` has room for two paths.
const COMMON: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
__attribute__((unused)) static const char *from_root(const char *path, char *whole) {
    int file, used = 0;
    char link[64];
    if (sscanf(path, "/proc/self/fd/%d/%n", &file, &used) != 1 || used == 0) return path;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, whole, PATH_MAX - 1);
    if (length < 0) return path;
    snprintf(whole + length, PATH_MAX, "/%s", path + used);
    return whole;
}
"#;

/// Compiles a library in `dir` from functions in C. Returns the value of `LD_PRELOAD` for it.
pub fn preload_library(dir: &Path, functions: &str) -> Result<String> {
    let (source, library) = (dir.join("preload.c"), dir.join("preload.so"));
    fs::write(&source, [COMMON, functions].concat())?;
    let hint = "this test needs a C compiler, as building RocksDB does";
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]).arg("-ldl");
    ensure!(command.status().context(hint)?.success(), "{hint}");
    Ok(library.display().to_string())
}
