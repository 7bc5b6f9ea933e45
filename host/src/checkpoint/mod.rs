//! Checkpoints on storage: the manifest, the files it names, and how long they are kept.
