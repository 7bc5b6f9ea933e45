//! A store that does some writes badly, for crash tests: it fails, delays, tears and truncates them, as a seed decides.
//!
//! Part of test builds only. Reads, listings and removals pass through. A multipart upload counts as one write, of which only
//! the end can fail.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::fail_point::StoreFaultRates;

/// Duration of a delayed write.
const DELAY: Duration = Duration::from_millis(30);

/// A store around another one.
#[derive(Debug)]
pub(in crate::checkpoint) struct FaultyStore {
    store: Arc<dyn ObjectStore>,
    rates: StoreFaultRates,
    /// Number of writes so far.
    writes: Arc<AtomicU64>,
}

/// Returns the store with the faults that the script of the process asks for, if any.
#[cfg(feature = "fail-points")]
pub(super) fn with_faults_of_process(store: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
    // Every attempt opens the storage anew. A counter of its own would let each attempt fail at the same write.
    static WRITES: std::sync::LazyLock<Arc<AtomicU64>> = std::sync::LazyLock::new(Arc::default);
    match crate::fail_point::store_faults() {
        Some(rates) => Arc::new(FaultyStore::new(store, rates, WRITES.clone())),
        None => store,
    }
}

/// What happens to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriteFault {
    None,
    Error,
    Unreported,
    Torn,
    Truncated,
    Delay,
}

impl FaultyStore {
    pub(in crate::checkpoint) fn new(
        store: Arc<dyn ObjectStore>,
        rates: StoreFaultRates,
        writes: Arc<AtomicU64>,
    ) -> FaultyStore {
        FaultyStore { store, rates, writes }
    }

    /// Counts a write and decides what happens to it.
    fn next_fault(&self) -> WriteFault {
        use WriteFault::{Delay, Error, None, Torn, Truncated, Unreported};
        let rates = &self.rates;
        let mut chance = rates.chance(self.writes.fetch_add(1, Ordering::Relaxed));
        for (rate, fault) in [
            (rates.error, Error),
            (rates.unreported, Unreported),
            (rates.torn, Torn),
            (rates.truncated, Truncated),
            (rates.delay, Delay),
        ] {
            if chance < rate {
                return fault;
            }
            chance -= rate;
        }
        None
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.store)
    }
}

fn failed(fault: WriteFault) -> Error {
    Error::Generic { store: "faulty", source: format!("a faulty write: {fault:?}").into() }
}

/// Returns the first half of the bytes.
fn prefix(payload: PutPayload) -> PutPayload {
    let bytes = Bytes::from(payload);
    bytes.slice(..bytes.len() / 2).into()
}

#[async_trait::async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let fault = self.next_fault();
        match fault {
            WriteFault::None => {}
            WriteFault::Delay => tokio::time::sleep(DELAY).await,
            WriteFault::Error => return Err(failed(fault)),
            WriteFault::Unreported => {
                self.store.put_opts(location, payload, options).await?;
                return Err(failed(fault));
            }
            WriteFault::Torn => {
                self.store.put_opts(location, prefix(payload), options).await?;
                return Err(failed(fault));
            }
            WriteFault::Truncated => return self.store.put_opts(location, prefix(payload), options).await,
        }
        self.store.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let fault = self.next_fault();
        match fault {
            WriteFault::None => {}
            WriteFault::Delay => tokio::time::sleep(DELAY).await,
            _ => return Err(failed(fault)),
        }
        self.store.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.store.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.store.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.store.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let fault = self.next_fault();
        match fault {
            WriteFault::None | WriteFault::Truncated => {}
            WriteFault::Delay => tokio::time::sleep(DELAY).await,
            _ => return Err(failed(fault)),
        }
        self.store.copy_opts(from, to, options).await
    }
}
