//! A server whose TLS does not work.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};

use pgmonkey_testserver::Endpoint;

const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

/// Starts a relay to the server that agrees to use TLS and then ends the session, and passes on
/// sessions without TLS. Returns its port.
pub fn broken_tls(server: &Endpoint) -> std::io::Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let target = (server.host().to_owned(), server.port());
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let target = target.clone();
            std::thread::spawn(move || pass(client, (&target.0, target.1)));
        }
    });
    Ok(port)
}

fn pass(mut client: TcpStream, target: (&str, u16)) -> std::io::Result<()> {
    let mut first = [0; 8];
    client.read_exact(&mut first)?;
    if first == SSL_REQUEST {
        client.write_all(b"S")?;
        return client.shutdown(Shutdown::Both);
    }
    let mut server = TcpStream::connect(target)?;
    server.write_all(&first)?;
    let (mut from, mut to) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        to.shutdown(Shutdown::Both)
    });
    std::io::copy(&mut client, &mut server)?;
    server.shutdown(Shutdown::Both)
}
