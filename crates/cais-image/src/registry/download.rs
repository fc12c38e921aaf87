//! Blobs: fetched as streams that resume by themselves (distribution-spec, "Pulling blobs";
//! RFC 9110 §14, "Range Requests").

use super::error::ErrorKind;
use super::scope::Scope;
use super::wire::{Answer, Call, Payload, header};
use super::{Registry, RegistryError, address};
use crate::descriptor::Descriptor;
use crate::digest::{Digest, Hasher};
use std::io::{self, Read};
use std::ops::Range;
use ureq::BodyReader;
use ureq::http::{Method, Uri};

/// After so many bytes a connection that breaks is forgiven.
const PROGRESS: u64 = 1 << 20;

/// The bytes of a blob.
///
/// A connection that breaks is replaced, and the stream goes on where it was; the registry's
/// patience counts the tries without progress. At the end size and digest are checked: the
/// last `read` fails with an [`io::Error`] that [`RegistryError::from_io`] unwraps.
pub struct BlobReader<'a> {
    registry: &'a Registry,
    call: Call,
    descriptor: Descriptor,
    /// The next place to try, of the descriptor's `urls`, when the registry has no such blob.
    elsewhere: usize,
    body: Option<BodyReader<'static>>,
    position: u64,
    end: u64,
    hasher: Option<Hasher>,
    failed: u32,
    /// Where the last failure was.
    failed_at: u64,
    is_finished: bool,
}

impl std::fmt::Debug for BlobReader<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "BlobReader({} at {} of {})",
            self.call.what, self.position, self.end
        )
    }
}

impl Registry {
    /// The size of a blob, or `None` if the registry has none of this digest.
    ///
    /// # Errors
    /// As [`RegistryError`] tells; a registry that does not tell the size says 0.
    pub fn head_blob(&self, repository: &str, digest: &Digest) -> Result<Option<u64>, RegistryError> {
        let call = self.blob_call(Method::HEAD, repository, digest)?;
        let answer = self.exchange(&call, Payload::None)?;
        match self.expect(&call, answer, &[200]) {
            Ok(answer) => {
                let size = header(answer.headers(), "content-length").and_then(|value| value.parse().ok());
                Ok(Some(size.unwrap_or(0)))
            }
            Err(RegistryError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Fetches a blob from its byte `offset` on. From the beginning the digest is checked; with
    /// an offset only the size is, unless [`BlobReader::verify_from`] gets the state of the
    /// hasher after the first bytes.
    ///
    /// # Errors
    /// When the registry does not begin to send it, as [`RegistryError`] tells.
    pub fn fetch_blob(
        &self,
        repository: &str,
        of: &Descriptor,
        offset: u64,
    ) -> Result<BlobReader<'_>, RegistryError> {
        let mut reader = self.blob_reader(repository, of, offset..of.size)?;
        reader.hasher = (offset == 0).then(|| Hasher::like(&of.digest));
        reader.start()?;
        Ok(reader)
    }

    /// Fetches some bytes of a blob, for several connections at once; nothing but their number
    /// is checked.
    ///
    /// # Errors
    /// When the registry does not begin to send them, as [`RegistryError`] tells.
    pub fn fetch_blob_range(
        &self,
        repository: &str,
        of: &Descriptor,
        range: Range<u64>,
    ) -> Result<BlobReader<'_>, RegistryError> {
        let mut reader = self.blob_reader(repository, of, range)?;
        reader.start()?;
        Ok(reader)
    }

    fn blob_reader(
        &self,
        repository: &str,
        of: &Descriptor,
        range: Range<u64>,
    ) -> Result<BlobReader<'_>, RegistryError> {
        let call = self.blob_call(Method::GET, repository, &of.digest)?;
        if range.end > of.size || range.start > range.end {
            return Err(RegistryError::SizeMismatch {
                what: call.what,
                expected: of.size,
                actual: range.start.max(range.end),
            });
        }
        Ok(BlobReader {
            registry: self,
            call,
            descriptor: of.clone(),
            elsewhere: 0,
            body: None,
            position: range.start,
            end: range.end,
            hasher: None,
            failed: 0,
            failed_at: range.start,
            is_finished: false,
        })
    }

    fn blob_call(&self, method: Method, repository: &str, digest: &Digest) -> Result<Call, RegistryError> {
        let url = self.url(repository, &format!("blobs/{digest}"))?;
        let what = format!("blob {repository}@{digest}");
        Ok(Call::new(method, url, vec![Scope::pull(repository)], what))
    }
}

impl BlobReader<'_> {
    /// Where the next byte is from.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Checks the digest at the end although the beginning is not read here: `hasher` has seen
    /// all bytes before the offset, and none of the stream has been read.
    #[must_use]
    pub fn verify_from(mut self, hasher: Hasher) -> Self {
        self.hasher = Some(hasher);
        self
    }

    fn start(&mut self) -> Result<(), RegistryError> {
        if self.position < self.end {
            let body = self.open()?;
            self.body = Some(body);
        }
        Ok(())
    }

    fn is_partial(&self) -> bool {
        self.position > 0 || self.end < self.descriptor.size
    }

    /// Asks for what is missing, at the registry and then at the descriptor's other places.
    fn open(&mut self) -> Result<BodyReader<'static>, RegistryError> {
        loop {
            let mut call = self.call.clone();
            if self.is_partial() {
                call = call.header("range", format!("bytes={}-{}", self.position, self.end - 1));
            }
            let answer = self.registry.exchange(&call, Payload::None)?;
            match self.registry.expect(&call, answer, &[200, 206]) {
                Ok(answer) => return self.accept(&call, answer),
                Err(error) if error.kind() == ErrorKind::NotFound => match self.next_place() {
                    Some(url) => {
                        self.call.url = url;
                        self.call.scopes.clear();
                    }
                    None => return Err(error),
                },
                Err(error) => return Err(error),
            }
        }
    }

    /// The next of the descriptor's `urls` over TLS. Requests there carry no credentials, as
    /// they are not the registry's own origin.
    fn next_place(&mut self) -> Option<Uri> {
        while let Some(url) = self.descriptor.urls.get(self.elsewhere) {
            self.elsewhere += 1;
            let is_allowed =
                |uri: &Uri| uri.scheme_str() == Some("https") || self.registry.scheme.get() == Some(&"http");
            if let Some(uri) = address::parse(url).ok().filter(is_allowed) {
                return Some(uri);
            }
        }
        None
    }

    /// Checks that an answer is what was asked for.
    fn accept(&mut self, call: &Call, answer: Answer) -> Result<BodyReader<'static>, RegistryError> {
        let size = self.descriptor.size;
        let mismatch = |actual| RegistryError::SizeMismatch {
            what: call.what.clone(),
            expected: size,
            actual,
        };
        if answer.status().as_u16() == 206 {
            let told = header(answer.headers(), "content-range").unwrap_or("");
            let Some((first, last, total)) = parse_content_range(told) else {
                return Err(call.protocol(format!(
                    "a part without a Content-Range that can be read: {told:?}"
                )));
            };
            if !self.is_partial() || first != self.position || last >= self.end {
                return Err(call.protocol(format!(
                    "bytes {}-{} were asked for, and {told:?} came",
                    self.position,
                    self.end - 1
                )));
            }
            return match total.filter(|total| *total != size) {
                Some(total) => Err(mismatch(total)),
                None => Ok(answer.into_body().into_reader()),
            };
        }
        if let Some(length) = answer.body().content_length().filter(|length| *length != size) {
            return Err(mismatch(length));
        }
        // The whole blob: the server does not do parts. What is known already is thrown away.
        let mut body = answer.into_body().into_reader();
        if self.position > 0 {
            let skipped = io::copy(&mut body.by_ref().take(self.position), &mut io::sink());
            let missing = |error| RegistryError::Network {
                method: call.method.to_string(),
                url: address::shown(&call.url),
                source: error,
            };
            if skipped.map_err(missing)? < self.position {
                return Err(missing(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Ok(body)
    }

    /// Waits for another try after a failure.
    fn fail(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        self.body = None;
        if self.position - self.failed_at >= PROGRESS {
            self.failed = 0;
        }
        self.failed += 1;
        self.failed_at = self.position;
        let options = &self.registry.options;
        match options.patience.next(self.failed, None, &*options.clock) {
            Some(wait) if error.is_passing() => {
                options.clock.wait(wait);
                Ok(())
            }
            _ => Err(error),
        }
    }

    fn cut_off(&self, source: &io::Error) -> RegistryError {
        RegistryError::Network {
            method: self.call.method.to_string(),
            url: address::shown(&self.call.url),
            source: io::Error::new(
                source.kind(),
                format!(
                    "broken off after {} of {} bytes: {source}",
                    self.position, self.end
                ),
            ),
        }
    }

    /// Checks the end: nothing may follow, and the digest must be right.
    fn finish(&mut self) -> Result<(), RegistryError> {
        if std::mem::replace(&mut self.is_finished, true) {
            return Ok(());
        }
        let mut probe = [0];
        let more = self.body.take().map(|mut body| body.read(&mut probe));
        if self.end == self.descriptor.size && matches!(more, Some(Ok(1..))) {
            return Err(RegistryError::SizeMismatch {
                what: self.call.what.clone(),
                expected: self.descriptor.size,
                actual: self.position + 1,
            });
        }
        let actual = match self.hasher.take() {
            Some(hasher) => hasher.finish(),
            None => return Ok(()),
        };
        if actual == self.descriptor.digest {
            return Ok(());
        }
        Err(RegistryError::DigestMismatch {
            what: self.call.what.clone(),
            expected: self.descriptor.digest.clone(),
            actual,
        })
    }
}

impl Read for BlobReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let left = usize::try_from(self.end - self.position).unwrap_or(usize::MAX);
            if left == 0 {
                self.finish()?;
                return Ok(0);
            }
            let mut body = match self.body.take() {
                Some(body) => body,
                None => match self.open() {
                    Ok(body) => body,
                    Err(error) => {
                        self.fail(error)?;
                        continue;
                    }
                },
            };
            let length = buffer.len().min(left);
            let result = body.read(buffer.get_mut(..length).unwrap_or_default());
            match result {
                Ok(count) if count > 0 => {
                    self.body = Some(body);
                    self.position += count as u64;
                    if let Some(hasher) = &mut self.hasher {
                        hasher.update(buffer.get(..count).unwrap_or_default());
                    }
                    return Ok(count);
                }
                Ok(_) => self.fail(self.cut_off(&io::ErrorKind::UnexpectedEof.into()))?,
                Err(error) => self.fail(self.cut_off(&error))?,
            }
        }
    }
}

/// `bytes 5-9/10`, or `*` for a length that the server does not know.
fn parse_content_range(value: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.trim().split_once('-')?;
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (first <= last).then_some((first, last, total))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        assert_eq!(parse_content_range("bytes 5-9/10"), Some((5, 9, Some(10))));
        assert_eq!(parse_content_range("bytes 5-9/*"), Some((5, 9, None)));
        for bad in [
            "",
            "bytes 9-5/10",
            "bytes */10",
            "5-9/10",
            "bytes -9/10",
            "bytes 5-9",
        ] {
            assert_eq!(parse_content_range(bad), None, "{bad}");
        }
    }
}
