//! Blobs: pushed in one piece or in several, mounted from another repository
//! (distribution-spec, "Pushing blobs").

use super::scope::Scope;
use super::wire::{Answer, Call, Payload, header};
use super::{Registry, RegistryError, address};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use std::io::{self, Read, Seek};
use ureq::http::{HeaderMap, Method, Uri};

/// A server that wants pieces beyond this is not served: each is kept in memory.
const LARGEST_CHUNK: usize = 256 << 20;
/// How often a piece is taken up again before the upload is given up.
const RESUMES: u32 = 5;

/// What came of the wish to mount a blob.
#[derive(Debug)]
pub enum Started<'a> {
    /// The registry had it: nothing is to be sent.
    Mounted,
    /// It did not, and began an upload.
    Upload(Upload<'a>),
}

/// An upload. Pieces go one after the other; [`Upload::finish`] makes a blob of them.
#[derive(Debug)]
pub struct Upload<'a> {
    registry: &'a Registry,
    repository: String,
    scopes: Vec<Scope>,
    location: Uri,
    /// How many bytes the registry has.
    offset: u64,
    /// Pieces other than the last must not be shorter (`OCI-Chunk-Min-Length`).
    chunk_min: usize,
}

impl Registry {
    /// Begins an upload.
    ///
    /// # Errors
    /// As [`RegistryError`] tells.
    pub fn start_upload(&self, repository: &str) -> Result<Upload<'_>, RegistryError> {
        let url = self.url(repository, "blobs/uploads/")?;
        let what = format!("upload to {repository}");
        let call = Call::new(Method::POST, url, vec![Scope::push(repository)], what);
        let answer = self.exchange(&call, Payload::None)?;
        let answer = self.expect(&call, answer, &[202])?;
        self.upload(repository, &call, &answer)
    }

    /// Asks the registry to take a blob from another of its repositories, from any if `from`
    /// is not given. Where it does not, it begins an upload.
    ///
    /// # Errors
    /// As [`RegistryError`] tells.
    pub fn mount_blob(
        &self,
        repository: &str,
        digest: &Digest,
        from: Option<&str>,
    ) -> Result<Started<'_>, RegistryError> {
        let url = self.url(repository, "blobs/uploads/")?;
        let what = format!("blob {repository}@{digest}");
        let mut call = Call::new(Method::POST, url, vec![Scope::push(repository)], what);
        let mut add = |name: &str, value: &str| {
            let with =
                address::with_parameter(&call.url, name, value).map_err(|reason| call.protocol(reason))?;
            call.url = with;
            Ok::<(), RegistryError>(())
        };
        add("mount", digest.as_str())?;
        if let Some(from) = from {
            crate::reference::check_repository(from)?;
            add("from", from)?;
            call.scopes.push(Scope::pull(from));
        }
        let answer = self.exchange(&call, Payload::None)?;
        let answer = self.expect(&call, answer, &[201, 202])?;
        if answer.status().as_u16() == 201 {
            return Ok(Started::Mounted);
        }
        self.upload(repository, &call, &answer).map(Started::Upload)
    }

    fn upload(&self, repository: &str, call: &Call, answer: &Answer) -> Result<Upload<'_>, RegistryError> {
        let chunk_min =
            header(answer.headers(), "oci-chunk-min-length").and_then(|value| value.trim().parse().ok());
        let chunk_min = chunk_min.unwrap_or(0);
        if chunk_min > LARGEST_CHUNK {
            return Err(call.protocol(format!("the registry wants pieces of {chunk_min} bytes")));
        }
        Ok(Upload {
            registry: self,
            repository: repository.to_owned(),
            scopes: call.scopes.clone(),
            location: location(call, answer.headers())?,
            offset: 0,
            chunk_min,
        })
    }

    /// Pushes a blob: in one piece up to the length of [`super::Options::chunk`], else in
    /// several. A piece that gets lost is sent again from where the registry says; an upload
    /// that the registry forgot is begun anew.
    ///
    /// # Errors
    /// As [`RegistryError`] tells; [`RegistryError::Source`] when `source` cannot be read or
    /// does not have the descriptor's size.
    pub fn push_blob(
        &self,
        repository: &str,
        of: &Descriptor,
        source: &mut (impl Read + Seek),
    ) -> Result<(), RegistryError> {
        let upload = self.start_upload(repository)?;
        self.push_into(upload, of, source)
    }

    /// Pushes a blob into an upload that [`Registry::mount_blob`] began.
    ///
    /// # Errors
    /// As [`Registry::push_blob`].
    pub fn push_into(
        &self,
        upload: Upload<'_>,
        of: &Descriptor,
        source: &mut (impl Read + Seek),
    ) -> Result<(), RegistryError> {
        let repository = upload.repository.clone();
        let mut next = Some(upload);
        for failed in 1.. {
            let upload = match next.take() {
                Some(upload) => upload,
                None => self.start_upload(&repository)?,
            };
            let error = match self.push_once(upload, of, source) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            let is_lost = error.is_passing()
                || matches!(
                    error,
                    RegistryError::NotFound { .. } | RegistryError::Refused { status: 416, .. }
                );
            match self.options.patience.next(failed, None, &*self.options.clock) {
                Some(wait) if is_lost => self.options.clock.wait(wait),
                _ => return Err(error),
            }
        }
        Ok(())
    }

    /// Pushes a blob that can be read once only, as it comes from elsewhere: at most a piece
    /// of it is in memory. A piece that gets lost is sent again; an upload that the registry
    /// forgot cannot be begun anew.
    ///
    /// # Errors
    /// As [`Registry::push_blob`].
    pub fn push_stream(
        &self,
        repository: &str,
        of: &Descriptor,
        source: &mut dyn Read,
    ) -> Result<(), RegistryError> {
        let upload = self.start_upload(repository)?;
        self.send_all(upload, of, source)
    }

    fn push_once(
        &self,
        upload: Upload<'_>,
        of: &Descriptor,
        source: &mut (impl Read + Seek),
    ) -> Result<(), RegistryError> {
        source.rewind().map_err(RegistryError::Source)?;
        self.send_all(upload, of, source)
    }

    fn send_all(
        &self,
        mut upload: Upload<'_>,
        of: &Descriptor,
        source: &mut dyn Read,
    ) -> Result<(), RegistryError> {
        let chunk = self.options.chunk.max(upload.chunk_min).max(1);
        let mut left = of.size;
        let mut buffer = Vec::new();
        loop {
            let length = left.min(chunk as u64);
            buffer.clear();
            let read = Read::take(&mut *source, length).read_to_end(&mut buffer);
            if (read.map_err(RegistryError::Source)? as u64) < length {
                let short = format!("it ended {left} bytes before the size of its descriptor");
                return Err(RegistryError::Source(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    short,
                )));
            }
            left -= length;
            if left == 0 {
                // What verifies what it reads does so at its end.
                let more = source.read(&mut [0]).map_err(RegistryError::Source)?;
                if more > 0 {
                    let long = io::Error::other("it is longer than the size of its descriptor");
                    return Err(RegistryError::Source(long));
                }
            }
            if left == 0 && upload.offset == 0 {
                return upload.finish_with(&of.digest, &buffer);
            }
            upload.send(&buffer)?;
            if left == 0 {
                return upload.finish(&of.digest);
            }
        }
    }
}

impl Upload<'_> {
    /// How many bytes the registry has.
    #[must_use]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The shortest piece that the registry takes, other than the last.
    #[must_use]
    pub fn chunk_min(&self) -> usize {
        self.chunk_min
    }

    /// Sends the next piece. Where the registry did not get all of it, the rest is sent from
    /// where it says that it is.
    ///
    /// # Errors
    /// As [`RegistryError`] tells; with status 416 when the registry has lost bytes of
    /// earlier pieces, and the upload must be begun anew.
    pub fn send(&mut self, piece: &[u8]) -> Result<(), RegistryError> {
        let start = self.offset;
        let end = start + piece.len() as u64;
        let mut failed = 0;
        while self.offset < end {
            let done = usize::try_from(self.offset - start).unwrap_or(usize::MAX);
            let rest = piece.get(done..).unwrap_or_default();
            let call = self
                .call(Method::PATCH, self.location.clone())
                .header("content-type", "application/octet-stream")
                .header("content-range", format!("{}-{}", self.offset, end - 1));
            // One try: what the registry has got must be known before the next.
            let error = match self.registry.exchange_unrepeated(&call, Payload::Bytes(rest)) {
                Ok(answer) => {
                    self.location = location(&call, answer.headers())?;
                    self.offset = received(answer.headers())
                        .filter(|got| *got <= end)
                        .unwrap_or(end);
                    if self.offset < start {
                        return Err(self.lost(&call));
                    }
                    if self.offset == end {
                        return Ok(());
                    }
                    call.protocol("the registry takes only a part of each piece")
                }
                Err(error) => error,
            };
            failed += 1;
            let is_passing = error.is_passing()
                || matches!(
                    error,
                    RegistryError::Refused { status: 416, .. } | RegistryError::Protocol { .. }
                );
            if !is_passing || failed >= RESUMES {
                return Err(error);
            }
            let options = &self.registry.options;
            match options.patience.next(failed, None, &*options.clock) {
                Some(wait) => options.clock.wait(wait),
                None => return Err(error),
            }
            self.ask_offset()?;
            if self.offset < start || self.offset > end {
                return Err(self.lost(&call));
            }
        }
        Ok(())
    }

    /// Asks how many bytes the registry has.
    fn ask_offset(&mut self) -> Result<(), RegistryError> {
        let call = self.call(Method::GET, self.location.clone());
        let answer = self.registry.exchange(&call, Payload::None)?;
        let answer = self.registry.expect(&call, answer, &[204, 202])?;
        if answer.headers().contains_key("location") {
            self.location = location(&call, answer.headers())?;
        }
        self.offset = received(answer.headers()).unwrap_or(0);
        Ok(())
    }

    fn lost(&self, call: &Call) -> RegistryError {
        RegistryError::Refused {
            method: call.method.to_string(),
            url: address::shown(&call.url),
            status: 416,
            said: super::Said {
                codes: Vec::new(),
                messages: vec![format!("the registry has {} bytes of the upload", self.offset)],
            },
        }
    }

    /// Makes a blob of what was sent.
    ///
    /// # Errors
    /// As [`RegistryError`] tells.
    pub fn finish(self, digest: &Digest) -> Result<(), RegistryError> {
        self.finish_with(digest, &[])
    }

    /// The same with a last piece, or the only one.
    fn finish_with(self, digest: &Digest, piece: &[u8]) -> Result<(), RegistryError> {
        let call = self.call(Method::PUT, self.location.clone());
        let url = address::with_parameter(&call.url, "digest", digest.as_str());
        let mut call = Call {
            url: url.map_err(|reason| call.protocol(reason))?,
            ..call
        };
        call.what = format!("blob {}@{digest}", self.repository);
        let call = call.header("content-type", "application/octet-stream");
        let answer = self.registry.exchange_unrepeated(&call, Payload::Bytes(piece));
        match answer {
            Ok(_) => Ok(()),
            // The registry may have finished although its answer was lost.
            Err(error) if error.is_passing() => match self.registry.head_blob(&self.repository, digest) {
                Ok(Some(_)) => Ok(()),
                _ => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    /// Gives the upload up.
    ///
    /// # Errors
    /// As [`RegistryError`] tells; the registry forgets it anyway some day.
    pub fn cancel(self) -> Result<(), RegistryError> {
        let call = self.call(Method::DELETE, self.location.clone());
        let answer = self.registry.exchange(&call, Payload::None)?;
        self.registry.expect(&call, answer, &[200, 202, 204]).map(drop)
    }

    fn call(&self, method: Method, url: Uri) -> Call {
        let what = format!("upload to {}", self.repository);
        Call::new(method, url, self.scopes.clone(), what)
    }
}

impl Registry {
    /// One try, whose status must be a success.
    fn exchange_unrepeated(&self, call: &Call, payload: Payload) -> Result<Answer, RegistryError> {
        let answer = self.exchange_once(call, payload)?;
        self.expect(call, answer, &[200, 201, 202, 204])
    }
}

/// Where an upload goes on; its query is the registry's own and kept.
fn location(call: &Call, headers: &HeaderMap) -> Result<Uri, RegistryError> {
    let target = header(headers, "location").ok_or_else(|| call.protocol("an upload without a Location"))?;
    let target = address::resolve(&call.url, target).map_err(|reason| call.protocol(reason))?;
    let is_downgrade = call.url.scheme_str() == Some("https") && target.scheme_str() == Some("http");
    if is_downgrade {
        return Err(call.protocol(format!(
            "the registry wants the upload without TLS at {}: is it behind a proxy that hides TLS from it?",
            address::shown(&target)
        )));
    }
    Ok(target)
}

/// `Range: 0-99` of an upload: 100 bytes are there. Docker's registry says `0-0` for none as
/// well as for one; the next piece then begins at 1 and is refused, so it is taken as none.
fn received(headers: &HeaderMap) -> Option<u64> {
    let value = header(headers, "range")?;
    let value = value.trim();
    let (first, last) = value.strip_prefix("bytes=").unwrap_or(value).split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    match (first, last) {
        (0, 0) => Some(0),
        (0, last) => last.checked_add(1),
        _ => None,
    }
}
