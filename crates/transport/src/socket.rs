//! UDP and TCP sockets.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

/// Buffer for packets that arrive while the program is busy, in bytes. With the usual smaller buffers, bulk
/// transfers lose packets.
const BUFFER: usize = 8 << 20;

/// How many bytes the system takes of a TCP stream before it has sent them. More would make signs of life wait behind
/// them on a slow uplink.
const UNSENT: u32 = 128 << 10;

/// How many TCP connections may wait to be accepted.
const BACKLOG: i32 = 1024;

/// A UDP socket bound to an address, with large buffers if the system grants them.
pub(crate) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    // Some systems refuse buffers of this size. The link then only becomes slower.
    let _ = socket.set_recv_buffer_size(BUFFER);
    let _ = socket.set_send_buffer_size(BUFFER);
    serve_both_families(&socket, address)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// The address to bind in order to reach another one: any interface and any port of the same address family.
pub(crate) fn any_address_towards(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// A TCP socket that listens at an address.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Otherwise a coordinator that is started again would wait a minute for the old one's connections.
    socket.set_reuse_address(true)?;
    serve_both_families(&socket, address)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into())
}

/// Makes `[::]` serve IPv4 too, whatever the system's default is.
fn serve_both_families(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V6(address) if address.ip().is_unspecified() => socket.set_only_v6(false),
        _ => Ok(()),
    }
}

/// Prepares a TCP connection for a link.
pub(crate) fn prepare_stream(stream: &TcpStream) {
    // Both only make a link faster, so it goes on without them. Frames are written at once, and none waits for more.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT);
}
