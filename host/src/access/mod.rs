//! What pipelines may read, write and reach: folders, addresses and buckets.
//!
//! `cofferdam run` allows everything that its user may do. `cofferdam serve` allows nothing but what its operator lists
//! (`--allow-path`, `--allow-address`, `--allow-s3`). A path is checked when a pipeline is submitted, and again when it
//! is opened: the file that was opened decides, so a link that is changed in between leads nowhere.
//!
//! | file | contents |
//! |---|---|
//! | `policy` | [`AccessPolicy`]: the allowed paths, addresses and buckets, and the checks |
//! | `denied` | the error of a refused path, as an [`std::io::Error`] too |
//! | `address` | hosts and ports, and the patterns that allow them |
//! | `access_grant` | what all namespaces may use, or only one |
//! | `pinned_folder` | an open folder, and operations on its files that follow no links out of it |
//! | `secrets` | the secrets that pipelines may use: where they are, their values, and texts without them |
//! | `written_forms` | the forms in which a message may contain a secret |
//! | `real_path` | the path of an open file, links resolved |
//!
//! The operator of the server chooses its own folders (`--data-dir`, `--checkpoint-storage`), which no policy restricts.
//! Must not know connectors or storages.

mod access_grant;
mod address;
mod denied;
mod pinned_folder;
mod policy;
mod real_path;
mod secrets;
mod written_forms;

#[cfg(test)]
mod access_tests;
#[cfg(test)]
mod secrets_tests;

pub use access_grant::{AccessGrant, NAMESPACE_BYTES_MAX, is_namespace_name};
pub use address::AddressPattern;
pub use denied::{denied, denied_or};
pub use pinned_folder::{CreatedFolder, PinnedFolder};
pub use policy::{AccessPolicy, AllowList, PipelinePaths};
pub use secrets::{NAMESPACE, SECRET_BYTES_MAX, Secret, SecretStore};
