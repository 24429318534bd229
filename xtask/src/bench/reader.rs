//! The bare reader: one thread that answers a scrape by reading the files that vitald reads, as often and into
//! buffers as long, doing nothing with them, and sending as many bytes.

use super::work::Work;
use crate::system::bare::Bare;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

/// Serves until it is killed; says where it listens as vitald does.
pub(crate) fn serve(arguments: &[&str]) -> Result<String, String> {
    let wrong = |error: std::io::Error| error.to_string();
    let work = Work::parse(arguments)?;
    let mut bare = Bare::new(work.readings, work.in_rotation).map_err(wrong)?;
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\r\n",
        work.bytes
    );
    let mut page = head.into_bytes();
    page.extend(std::iter::repeat_n(b'#', work.bytes));
    let listener = TcpListener::bind("127.0.0.1:0").map_err(wrong)?;
    let address = listener.local_addr().map_err(wrong)?;
    writeln!(std::io::stderr(), "msg=listening address={address}").map_err(wrong)?;
    loop {
        let (client, _) = listener.accept().map_err(wrong)?;
        // A client that goes away is not an error.
        let _ = answer(client, &mut bare, &work.mounts, &page);
    }
}

/// Answers the requests of one connection until it ends.
fn answer(
    client: TcpStream,
    bare: &mut Bare,
    mounts: &[PathBuf],
    page: &[u8],
) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut client = BufReader::new(client);
    let mut line = String::new();
    loop {
        line.clear();
        if client.read_line(&mut line)? == 0 {
            return Ok(());
        }
        // The empty line is the end of a request.
        if line.trim_end().is_empty() {
            bare.read();
            for mount in mounts {
                space(mount);
            }
            client.get_mut().write_all(page)?;
        }
    }
}

fn space(mount: &Path) {
    // What it says is not looked at, and neither is what went wrong.
    let _ = rustix::fs::statfs(mount);
}
