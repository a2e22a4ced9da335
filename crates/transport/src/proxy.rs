//! HTTP proxies, through which a link over TCP can go: CONNECT (RFC 9110, section 9.3.6).
//!
//! The proxy sees the coordinator's name, and sizes and times. TLS is between the party and the coordinator.

use std::fmt;
use std::io;
use std::sync::Arc;

use base64ct::{Base64, Encoding};
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::address::HostPort;
use crate::connect_error::ConnectError;
#[cfg(test)]
use crate::link_error::commands_terminals;
use crate::link_error::printable;

/// The most bytes of a proxy's answer.
const MOST_ANSWER: usize = 16 << 10;

/// The most bytes of a request without a password: a host has at most 255 bytes, and is named twice.
const MOST_REQUEST: usize = 1 << 10;

/// How many bytes of what is no answer are shown.
const SHOWN: usize = 60;

/// How an answer begins.
const HTTP: &[u8] = b"HTTP/1.";

/// What ends an answer.
const END: &[u8] = b"\r\n\r\n";

/// An HTTP proxy.
#[derive(Clone, Debug)]
pub struct Proxy {
    address: HostPort,
    password: Option<Arc<ProxyPassword>>,
}

/// A user and a password for a proxy, as the header's value of Basic authentication (RFC 7617).
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct ProxyPassword {
    header: String,
}

/// The text is no user and password. It is not part of the message.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
#[error("expected one line `user:password`; write the user, a colon and the password into the file")]
pub struct ProxyPasswordError;

impl Proxy {
    /// A proxy at an address.
    pub fn new(address: HostPort, password: Option<ProxyPassword>) -> Self {
        Self { address, password: password.map(Arc::new) }
    }

    /// Where it is.
    pub fn address(&self) -> &HostPort {
        &self.address
    }
}

impl ProxyPassword {
    /// From one line `user:password`.
    ///
    /// # Errors
    /// [`ProxyPasswordError`] if there is no colon, or more than one line.
    pub fn parse(text: &str) -> Result<Self, ProxyPasswordError> {
        let line = text.trim_end_matches(['\r', '\n']);
        let is_pair = line.split_once(':').is_some_and(|(user, _)| !user.is_empty());
        if !is_pair || line.chars().any(char::is_control) {
            return Err(ProxyPasswordError);
        }
        let encoded = Zeroizing::new(Base64::encode_string(line.as_bytes()));
        Ok(Self { header: format!("Basic {}", *encoded) })
    }
}

impl fmt::Debug for ProxyPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProxyPassword(…)")
    }
}

/// Has a proxy connect to the target. From then on what is sent on the stream reaches the target.
pub(crate) async fn open_tunnel(
    stream: &mut TcpStream,
    proxy: &Proxy,
    target: &HostPort,
    deadline: Instant,
) -> Result<(), ConnectError> {
    let unreachable =
        |detail: String| ConnectError::ProxyUnreachable { proxy: proxy.address.clone(), detail };
    let request = request(proxy, target);
    let answer = async {
        stream.write_all(request.as_bytes()).await?;
        read_answer(stream).await
    };
    let answer = timeout_at(deadline, answer).await;
    let answer = answer.map_err(|_| unreachable(format!("no answer to `CONNECT {target}` in time")))?;
    match answer.map_err(|error| unreachable(error.to_string()))? {
        Answer::Connected => Ok(()),
        Answer::Refused { code, status } => Err(ConnectError::ProxyRefused {
            proxy: proxy.address.clone(),
            target: target.clone(),
            code,
            status,
        }),
        Answer::NotHttp(found) => Err(ConnectError::NotAProxy { proxy: proxy.address.clone(), found }),
    }
}

fn request(proxy: &Proxy, target: &HostPort) -> Zeroizing<String> {
    let password = proxy.password.as_ref().map_or("", |password| &password.header);
    // Room for everything: a text that grows leaves copies of itself in memory.
    let mut request = Zeroizing::new(String::with_capacity(MOST_REQUEST + password.len()));
    // `HostPort` has neither spaces nor control characters, so it cannot add a header.
    request.push_str(&format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"));
    if !password.is_empty() {
        request.push_str("Proxy-Authorization: ");
        request.push_str(password);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    request
}

/// What a proxy answered.
#[derive(PartialEq, Eq, Debug)]
enum Answer {
    Connected,
    Refused {
        code: u16,
        /// The status line, with control characters escaped.
        status: String,
    },
    /// The beginning of what came, with control characters escaped.
    NotHttp(String),
}

async fn read_answer(stream: &mut TcpStream) -> io::Result<Answer> {
    let mut answer = Vec::new();
    loop {
        if let Some(parsed) = parse(&answer) {
            return Ok(parsed);
        }
        let room = (MOST_ANSWER - answer.len()) as u64;
        if stream.take(room).read_buf(&mut answer).await? == 0 {
            return match answer.len() {
                MOST_ANSWER => Ok(not_http(&answer)),
                _ => Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "it closed the connection without an answer",
                )),
            };
        }
    }
}

/// What the answer says; `None` as long as it is incomplete.
fn parse(answer: &[u8]) -> Option<Answer> {
    let compared = answer.len().min(HTTP.len());
    if answer[..compared] != HTTP[..compared] {
        return Some(not_http(answer));
    }
    let line = answer.split(|&byte| byte == b'\n').next().filter(|line| line.len() < answer.len())?;
    let status = printable(line.strip_suffix(b"\r").unwrap_or(line));
    let code = status.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok());
    match code {
        None => Some(not_http(answer)),
        // The target speaks after this side only, so nothing may follow the answer.
        Some(200..=299) => {
            let end = answer.windows(END.len()).position(|window| window == END)? + END.len();
            Some(if end == answer.len() { Answer::Connected } else { not_http(&answer[end..]) })
        }
        Some(code) => Some(Answer::Refused { code, status }),
    }
}

fn not_http(bytes: &[u8]) -> Answer {
    Answer::NotHttp(printable(&bytes[..bytes.len().min(SHOWN)]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn whatever_a_proxy_sends_is_shown_escaped_and_short(
            begins in proptest::sample::select(vec!["", "HTTP/1.", "HTTP/1.1 200", "HTTP/1.1 407 "]),
            rest in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let answer = [begins.as_bytes(), &rest].concat();
            if let Some(Answer::NotHttp(text) | Answer::Refused { status: text, .. }) = parse(&answer) {
                prop_assert!(!text.chars().any(commands_terminals), "{text}");
                prop_assert!(text.len() <= 10 * (SHOWN + answer.len()));
            }
        }
    }

    #[test]
    fn answers_are_read_at_every_cut() {
        let whole = b"HTTP/1.1 200 Connection established\r\nVia: proxy\r\n\r\n";
        for cut in 0..whole.len() {
            assert_eq!(parse(&whole[..cut]), None, "{cut}");
        }
        assert_eq!(parse(whole), Some(Answer::Connected));
        let refusal = Answer::Refused { code: 407, status: "HTTP/1.0 407 Who\\u{1b}are you".to_owned() };
        assert_eq!(parse(b"HTTP/1.0 407 Who\x1bare you\r\nProxy-"), Some(refusal));
        for garbage in [
            &b"SSH-2.0-OpenSSH\r\n"[..],
            b"\x15\x03\x01",
            b"HTTP/1.1 OK\r\n",
            b"HTTP/2 200\r\n",
            b"HTTP/1.1 200 OK\r\n\r\nmore",
        ] {
            assert!(matches!(parse(garbage), Some(Answer::NotHttp(_))), "{garbage:?}");
        }
    }

    /// RFC 7617, section 2
    #[test]
    fn a_password_is_encoded_as_in_the_standards_example() {
        let password = ProxyPassword::parse("Aladdin:open sesame\n").expect("a pair");
        assert_eq!(password.header, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert_eq!(format!("{password:?}"), "ProxyPassword(…)");
        for text in ["", "Aladdin", ":open", "Aladdin:open\r\nX-Header: 1"] {
            assert_eq!(ProxyPassword::parse(text).err(), Some(ProxyPasswordError), "{text:?}");
        }
        let proxy = Proxy::new("proxy:3128".parse().expect("an address"), Some(password));
        let request = request(&proxy, &"[2001:db8::1]:443".parse().expect("an address"));
        assert_eq!(
            *request,
            "CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\
             Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"
        );
    }

    #[test]
    fn a_password_erases_itself() {
        fn erases_itself<T: ZeroizeOnDrop>() {}
        erases_itself::<ProxyPassword>();
    }
}
