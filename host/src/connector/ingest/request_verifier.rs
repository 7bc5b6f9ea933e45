//! Who may send requests to a source: those with a bearer token, or whose body has a signature. Secrets are compared in constant time.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256, Sha512};
use subtle::{Choice, ConstantTimeEq};

/// How a signature covers a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignatureScheme {
    /// A header contains the signature of the body.
    Header {
        /// Name of the header, in lower case.
        header: String,
        /// Text in front of the signature, such as `sha256=`.
        prefix: String,
        /// The hash function.
        algorithm: SignatureAlgorithm,
        /// How the signature is written.
        encoding: SignatureEncoding,
    },
    /// As Stripe signs: `stripe-signature: t=TIME,v1=SIGNATURE` covers `TIME.BODY`.
    Stripe {
        /// Largest difference between the time and that of the server, in seconds.
        tolerance_s: u64,
    },
    /// As Slack signs: `x-slack-signature: v0=SIGNATURE` covers `v0:TIME:BODY`, with the time in `x-slack-request-timestamp`.
    Slack {
        /// Largest difference between the time and that of the server, in seconds.
        tolerance_s: u64,
    },
}

/// The hash function of a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureAlgorithm {
    /// HMAC with SHA-256.
    Sha256,
    /// HMAC with SHA-512.
    Sha512,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureEncoding {
    /// Hexadecimal digits.
    Hex,
    /// Base64 with padding.
    Base64,
}

/// Checks requests. Contains a secret, so that it has no `Debug`.
pub struct RequestVerifier(VerifierKind);

enum VerifierKind {
    Everyone,
    /// Hash of the token.
    Bearer([u8; 32]),
    Signature(SignatureScheme, Box<[u8]>),
}

/// A request that has no valid token or signature, and why. The text contains no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestUnauthorized(pub &'static str);

/// Returns the value of a header, by its name in lower case.
type HeaderValueOf<'a> = &'a dyn Fn(&str) -> Option<&'a [u8]>;

impl RequestVerifier {
    /// Accepts all requests.
    pub fn everyone() -> RequestVerifier {
        RequestVerifier(VerifierKind::Everyone)
    }

    /// Accepts requests with `authorization: Bearer TOKEN`.
    pub fn bearer(token: &str) -> RequestVerifier {
        RequestVerifier(VerifierKind::Bearer(Sha256::digest(token.as_bytes()).into()))
    }

    /// Accepts requests with a valid signature.
    pub fn signature(scheme: SignatureScheme, secret: &str) -> RequestVerifier {
        RequestVerifier(VerifierKind::Signature(scheme, secret.as_bytes().into()))
    }

    /// Returns whether requests of everyone are accepted.
    pub fn is_open(&self) -> bool {
        matches!(self.0, VerifierKind::Everyone)
    }

    /// Checks what can be checked before the body is read.
    pub fn check_headers(&self, header: HeaderValueOf<'_>) -> Result<(), RequestUnauthorized> {
        let VerifierKind::Bearer(expected) = &self.0 else { return Ok(()) };
        const WANTED: RequestUnauthorized = RequestUnauthorized("the header `authorization: Bearer TOKEN` is missing");
        let value = header("authorization").ok_or(WANTED)?;
        let (scheme, token) = value.split_at_checked(7).ok_or(WANTED)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") {
            return Err(WANTED);
        }
        let digest: [u8; 32] = Sha256::digest(token.trim_ascii()).into();
        accept(digest.ct_eq(expected), "the bearer token is wrong")
    }

    /// Checks the signature of a body as it was sent. `now_s` is the time in seconds since the Unix epoch.
    pub fn check_body(&self, header: HeaderValueOf<'_>, body: &[u8], now_s: i64) -> Result<(), RequestUnauthorized> {
        let VerifierKind::Signature(scheme, key) = &self.0 else { return Ok(()) };
        const MISSING: RequestUnauthorized =
            RequestUnauthorized("the header with the signature is missing or malformed");
        const WRONG: &str = "the signature of the body is wrong";
        match scheme {
            SignatureScheme::Header { header: name, prefix, algorithm, encoding } => {
                let value = header(name).and_then(|value| value.strip_prefix(prefix.as_bytes())).ok_or(MISSING)?;
                let given = match encoding {
                    SignatureEncoding::Hex => hex::decode(value).ok(),
                    SignatureEncoding::Base64 => STANDARD.decode(value).ok(),
                };
                let expected = match algorithm {
                    SignatureAlgorithm::Sha256 => hmac::<Sha256>(64, key, &[body]),
                    SignatureAlgorithm::Sha512 => hmac::<Sha512>(128, key, &[body]),
                };
                accept(expected.ct_eq(&given.ok_or(MISSING)?), WRONG)
            }
            SignatureScheme::Stripe { tolerance_s } => {
                let value = header("stripe-signature").ok_or(MISSING)?;
                let parts = || value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
                let time = parts().find_map(|part| part.strip_prefix(b"t=")).ok_or(MISSING)?;
                check_time(time, now_s, *tolerance_s)?;
                let expected = hmac::<Sha256>(64, key, &[time, b".", body]);
                let given = parts().filter_map(|part| hex::decode(part.strip_prefix(b"v1=")?).ok());
                accept(given.fold(Choice::from(0), |any, given| any | expected.ct_eq(&given)), WRONG)
            }
            SignatureScheme::Slack { tolerance_s } => {
                let time = header("x-slack-request-timestamp").ok_or(MISSING)?;
                check_time(time, now_s, *tolerance_s)?;
                let value = header("x-slack-signature").and_then(|value| value.strip_prefix(b"v0="));
                let given = value.and_then(|value| hex::decode(value).ok()).ok_or(MISSING)?;
                let expected = hmac::<Sha256>(64, key, &[b"v0:", time, b":", body]);
                accept(expected.ct_eq(&given), WRONG)
            }
        }
    }
}

fn accept(is_equal: Choice, why: &'static str) -> Result<(), RequestUnauthorized> {
    if is_equal.into() { Ok(()) } else { Err(RequestUnauthorized(why)) }
}

/// Checks a signed time, in seconds since the Unix epoch, so that a request cannot be repeated much later.
fn check_time(time: &[u8], now_s: i64, tolerance_s: u64) -> Result<(), RequestUnauthorized> {
    let time = std::str::from_utf8(time).ok().and_then(|time| time.parse::<i64>().ok());
    match time.is_some_and(|time| time.abs_diff(now_s) <= tolerance_s) {
        true => Ok(()),
        false => Err(RequestUnauthorized("the signed time differs too much from the time of the server")),
    }
}

/// HMAC (RFC 2104) with a hash function whose blocks have `block` bytes.
fn hmac<D: Digest>(block: usize, key: &[u8], message: &[&[u8]]) -> Vec<u8> {
    let mut padded = match key.len() > block {
        true => D::digest(key).to_vec(),
        false => key.to_vec(),
    };
    padded.resize(block, 0);
    let keyed = |pad: u8| {
        let bytes: Vec<u8> = padded.iter().map(|byte| byte ^ pad).collect();
        D::new_with_prefix(bytes)
    };
    let inner = message.iter().fold(keyed(0x36), |hash, part| hash.chain_update(part)).finalize();
    keyed(0x5c).chain_update(inner).finalize().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        verifier: &RequestVerifier,
        headers: &[(&str, &str)],
        body: &[u8],
        now_s: i64,
    ) -> Result<(), &'static str> {
        let header = |name: &str| headers.iter().find(|(own, _)| *own == name).map(|(_, value)| value.as_bytes());
        let checked = verifier.check_headers(&header).and_then(|()| verifier.check_body(&header, body, now_s));
        checked.map_err(|RequestUnauthorized(why)| why)
    }

    #[test]
    fn hmacs_are_those_of_rfc_4231() {
        let expect = |key: &[u8], data: &[u8], sha256: &str, sha512_start: &str| {
            assert_eq!(hex::encode(hmac::<Sha256>(64, key, &[data])), sha256);
            assert!(hex::encode(hmac::<Sha512>(128, key, &[data])).starts_with(sha512_start));
        };
        expect(
            &[0x0b; 20],
            b"Hi There",
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            "87aa7cdea5ef619d4ff0b4241a1d6cb0",
        );
        expect(
            b"Jefe",
            b"what do ya want for nothing?",
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            "164b7a7bfcf819e2e395fbe73b56e0a3",
        );
        expect(
            &[0xaa; 131],
            b"Test Using Larger Than Block-Size Key - Hash Key First",
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            "80b24263c7c1a3ebb71493c1dd7be8b4",
        );
    }

    #[test]
    fn a_bearer_token_must_be_exact() {
        let verifier = RequestVerifier::bearer("s3cret");
        for value in ["Bearer s3cret", "bearer s3cret", "BEARER  s3cret "] {
            assert_eq!(check(&verifier, &[("authorization", value)], b"", 0), Ok(()), "{value}");
        }
        for value in ["", "Bearer", "Bearer ", "Bearer s3cre", "Bearer s3cret2", "Basic s3cret", "s3cret"] {
            assert!(check(&verifier, &[("authorization", value)], b"", 0).is_err(), "{value}");
        }
        assert!(check(&verifier, &[], b"", 0).is_err());
        assert!(check(&RequestVerifier::everyone(), &[], b"", 0).is_ok());
    }

    #[test]
    fn the_signature_of_github_is_accepted() {
        // The example of GitHub's documentation.
        let scheme = SignatureScheme::Header {
            header: "x-hub-signature-256".into(),
            prefix: "sha256=".into(),
            algorithm: SignatureAlgorithm::Sha256,
            encoding: SignatureEncoding::Hex,
        };
        let verifier = RequestVerifier::signature(scheme, "It's a Secret to Everybody");
        let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let signed = [("x-hub-signature-256", signature)];
        assert_eq!(check(&verifier, &signed, b"Hello, World!", 0), Ok(()));
        assert!(check(&verifier, &signed, b"Hello, World?", 0).is_err());
        let cut = [("x-hub-signature-256", &signature[..signature.len() - 2])];
        assert!(check(&verifier, &cut, b"Hello, World!", 0).is_err());
        assert!(check(&verifier, &[("x-hub-signature-256", "sha256=zz")], b"Hello, World!", 0).is_err());
        assert!(check(&verifier, &[], b"Hello, World!", 0).is_err());
    }

    #[test]
    fn signed_times_must_be_recent() {
        let stripe = RequestVerifier::signature(SignatureScheme::Stripe { tolerance_s: 300 }, "whsec");
        let signature = hex::encode(hmac::<Sha256>(64, b"whsec", &[b"1000.body"]));
        let header = format!("t=1000, v0=00,v1=ff,v1={signature}");
        let headers = [("stripe-signature", header.as_str())];
        assert_eq!(check(&stripe, &headers, b"body", 1300), Ok(()));
        assert!(check(&stripe, &headers, b"body", 1301).is_err());
        assert!(check(&stripe, &headers, b"other", 1000).is_err());
        assert!(check(&stripe, &[("stripe-signature", "t=1000")], b"body", 1000).is_err());

        // The example of Slack's documentation.
        let slack =
            RequestVerifier::signature(SignatureScheme::Slack { tolerance_s: 300 }, "8f742231b10e8888abcd99yyyzzz85a5");
        let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&\
            channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&\
            response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&\
            trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let headers = [
            ("x-slack-request-timestamp", "1531420618"),
            ("x-slack-signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
        ];
        assert_eq!(check(&slack, &headers, body, 1_531_420_700), Ok(()));
        assert!(check(&slack, &headers, body, 1_531_430_000).is_err());
    }
}
