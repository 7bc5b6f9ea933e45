//! Decompresses bodies, up to a limit.

use std::borrow::Cow;
use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

use crate::error::{Result, request_invalid, request_too_large};

/// Largest window of a zstd body, as a power of two: a client must not choose how much memory is reserved.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The compression of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ContentEncoding {
    Identity,
    Gzip,
    Zstd,
}

impl ContentEncoding {
    /// Parses the header `content-encoding`. Returns `None` for an unknown one.
    pub(super) fn parse(header: Option<&[u8]>) -> Option<ContentEncoding> {
        let Some(header) = header else { return Some(ContentEncoding::Identity) };
        let known = [
            ("identity", ContentEncoding::Identity),
            ("gzip", ContentEncoding::Gzip),
            ("x-gzip", ContentEncoding::Gzip),
            ("zstd", ContentEncoding::Zstd),
        ];
        let found = known.into_iter().find(|(name, _)| header.trim_ascii().eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, encoding)| encoding)
    }

    /// Decompresses a body. Errors: `request-invalid`, `request-too-large` if the result has more than `bytes_max` bytes.
    pub(super) fn decode(self, body: &[u8], bytes_max: usize) -> Result<Cow<'_, [u8]>> {
        let decoded = match self {
            ContentEncoding::Identity => return Ok(Cow::Borrowed(body)),
            ContentEncoding::Gzip => read_limited(MultiGzDecoder::new(body), bytes_max),
            ContentEncoding::Zstd => zstd_decoder(body).and_then(|decoder| read_limited(decoder, bytes_max)),
        };
        match decoded {
            Ok(bytes) if bytes.len() > bytes_max => {
                Err(request_too_large(format!("the decompressed body is larger than {bytes_max} bytes")))
            }
            Ok(bytes) => Ok(Cow::Owned(bytes)),
            Err(error) => Err(request_invalid(format!("the body is not valid {self:?}: {error}"))),
        }
    }
}

fn zstd_decoder(body: &[u8]) -> io::Result<impl Read> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
    Ok(decoder)
}

/// Reads up to one byte more than allowed.
fn read_limited(reader: impl Read, bytes_max: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn bodies_are_decompressed_up_to_a_limit() {
        let text = b"{\"n\":1}\n".repeat(1000);
        for (encoding, body) in [
            (ContentEncoding::Identity, text.clone()),
            (ContentEncoding::Gzip, gzip(&text)),
            (ContentEncoding::Zstd, zstd::encode_all(&text[..], 3).unwrap()),
        ] {
            assert_eq!(encoding.decode(&body, text.len()).unwrap(), &text[..], "{encoding:?}");
            if encoding != ContentEncoding::Identity {
                assert_eq!(encoding.decode(&body, text.len() - 1).unwrap_err().code, "request-too-large");
                assert_eq!(encoding.decode(&body[..body.len() - 5], text.len()).unwrap_err().code, "request-invalid");
                assert_eq!(encoding.decode(b"plain", text.len()).unwrap_err().code, "request-invalid");
            }
        }
    }

    #[test]
    fn a_bomb_costs_no_more_than_the_limit() {
        let zeros = vec![0; 64 << 20];
        for (encoding, bomb) in
            [(ContentEncoding::Gzip, gzip(&zeros)), (ContentEncoding::Zstd, zstd::encode_all(&zeros[..], 3).unwrap())]
        {
            assert_eq!(encoding.decode(&bomb, 1 << 20).unwrap_err().code, "request-too-large");
        }
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&zeros).unwrap();
        let wide = encoder.finish().unwrap();
        assert_eq!(ContentEncoding::Zstd.decode(&wide, 1 << 20).unwrap_err().code, "request-invalid");
    }

    #[test]
    fn names_are_case_insensitive_and_others_unknown() {
        assert_eq!(ContentEncoding::parse(Some(b" GZip")), Some(ContentEncoding::Gzip));
        assert_eq!(ContentEncoding::parse(None), Some(ContentEncoding::Identity));
        assert_eq!(ContentEncoding::parse(Some(b"br")), None);
        assert_eq!(ContentEncoding::parse(Some(b"gzip, gzip")), None);
    }
}
