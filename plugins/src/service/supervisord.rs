//! Processes that supervisord(8) looks after, by its XML-RPC interface (`supervisor.getAllProcessInfo`).

use std::net::SocketAddr;
use std::time::Instant;

use vitald_core::host::Peer;
use vitald_core::prelude::*;
use vitald_core::settings::SecretUrl;

mod http;
mod processes;

use http::{Answer, Server, Url};
use processes::{Process, Processes};

families! {
    /// Whether a process runs, is being started or is being stopped.
    UP: gauge = "node_supervisord_up" [name, group];
    /// The state of a process by supervisord's number: 0 stopped, 10 starting, 20 running, 30 backing
    /// off, 40 stopping, 100 exited, 200 fatal, 1000 unknown.
    STATE: gauge = "node_supervisord_state" [name, group];
    /// What a process exited with last; 0 if it never did.
    EXIT_STATUS: gauge = "node_supervisord_exit_status" [name, group];
    /// When a process that runs was started, since the epoch.
    START_TIME: counter = "node_supervisord_start_time_seconds" [name, group] legacy;
}

settings! {
    /// Where supervisord answers: `http://[USER:PASSWORD@]HOST[:PORT]/RPC2` or `unix:///PATH/OF/SOCKET`.
    url: SecretUrl = "http://localhost:9001/RPC2";
}

/// How long supervisord may take.
const TIMEOUT: Duration = Duration::from_secs(10);

const STARTING: i64 = 10;
const RUNNING: i64 = 20;
const STOPPING: i64 = 40;

register_collector!(Supervisord);

struct Supervisord {
    host: Host,
    server: Server,
    request: Vec<u8>,
    addresses: Vec<SocketAddr>,
    answer: Vec<u8>,
    process: Process,
}

impl Collector for Supervisord {
    about! {
        name: "supervisord",
        summary: "Processes that supervisord looks after",
        families: FAMILIES,
        sources: ["XML-RPC of supervisord"],
        settings: Settings,
    }
    const ENABLED: bool = false;
    const MAY_BLOCK: bool = true;
    // The file of a unix socket may be on any file system.
    const OWN_DESCRIPTORS: bool = true;

    fn check(settings: &Settings) -> Result<()> {
        Url::parse(settings.url.reveal()).map(drop).map_err(|wrong| Error::setting("url", wrong))
    }

    fn open(settings: Settings, host: &Host) -> Result<Self> {
        let url =
            Url::parse(settings.url.reveal()).map_err(|wrong| Error::setting("url", wrong))?;
        Ok(Supervisord {
            host: host.clone(),
            request: url.request(processes::CALL),
            server: url.server,
            addresses: Vec::new(),
            answer: Vec::new(),
            process: Process::default(),
        })
    }

    fn collect(&mut self, batch: &mut Batch) -> Result<()> {
        self.ask(batch)?;
        let malformed = |wrong: Malformed| wrong.in_file("supervisord");
        let answer = Answer::parse(&self.answer).map_err(malformed)?;
        let mut processes = Processes::new(answer.body);
        while processes.next(&mut self.process).map_err(malformed)? {
            if let Some(process) = batch.tolerate(self.process.whole()) {
                push(process, batch);
            }
        }
        Ok(())
    }
}

impl Supervisord {
    /// Asks the addresses of the server one after another, until one answers. If none does, the error
    /// is that of the first one, at which a server is expected before all others.
    fn ask(&mut self, batch: &Batch) -> Result<()> {
        let Supervisord { host, server, request, addresses, answer, .. } = self;
        let mut converse = |peer, deadline| {
            host.converse(peer, request, answer, &mut |answer| Answer::is_whole(answer), deadline)
        };
        let time_left = || TIMEOUT.min(batch.time_left());
        match server {
            Server::Unix(path) => converse(Peer::Unix(path), Instant::now() + time_left()),
            Server::Tcp(name, port) => {
                host.addresses(name, *port, addresses)?;
                // What the resolver took is not taken from the server's time.
                let deadline = Instant::now() + time_left();
                let mut first_error = None;
                for (position, address) in addresses.iter().enumerate() {
                    let end = share(Instant::now(), deadline, addresses.len() - position);
                    match converse(Peer::Tcp(*address), end) {
                        Ok(()) => return Ok(()),
                        Err(error) => first_error = first_error.or(Some(error)),
                    }
                }
                Err(first_error.unwrap_or_else(|| Error::absent("supervisord")))
            }
        }
    }
}

/// Until when one of some addresses may take, so that the others have as much time as it has.
fn share(now: Instant, deadline: Instant, addresses: usize) -> Instant {
    let addresses = u32::try_from(addresses).unwrap_or(u32::MAX).max(1);
    now + deadline.saturating_duration_since(now) / addresses
}

fn push(process: &Process, batch: &mut Batch) {
    let labels = batch.labels([&process.name, &process.group]);
    batch.push(&STATE, labels, process.state);
    batch.push(&EXIT_STATUS, labels, process.exit_status);
    let is_up = matches!(process.state, STARTING | RUNNING | STOPPING);
    batch.push(&UP, labels, is_up);
    if is_up {
        batch.push(&START_TIME, labels, process.start);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{self, Read, Write};
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use vitald_core::host::Roots;
    use vitald_core::testing::*;

    fn process(name: &str, group: &str, state: i64, exit_status: i64, start: i64) -> String {
        let member = |name: &str, kind: &str, text: &str| {
            format!(
                "<member>\n<name>{name}</name>\n<value><{kind}>{text}</{kind}></value>\n</member>\n"
            )
        };
        [
            "<value><struct>\n",
            &member("name", "string", name),
            &member("group", "string", group),
            &member("start", "int", &start.to_string()),
            &member("stop", "int", "0"),
            &member("state", "int", &state.to_string()),
            &member("statename", "string", "ANY"),
            &member("exitstatus", "int", &exit_status.to_string()),
            "</struct></value>\n",
        ]
        .concat()
    }

    fn answer(processes: &[String]) -> Vec<u8> {
        let body = format!(
            "<?xml version='1.0'?>\n<methodResponse>\n<params>\n<param>\n<value><array><data>\n{}\
             </data></array></value>\n</param>\n</params>\n</methodResponse>\n",
            processes.concat()
        );
        let head = "HTTP/1.0 200 OK\r\nServer: Medusa/1.12\r\nContent-Type: text/xml\r\n";
        format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    fn ordinary() -> Vec<u8> {
        answer(&[
            process("cron", "cron", 0, 0, 0),
            process("mail", "mail", 100, 75, 1_699_000_000),
            process("web_00", "web", 20, 0, 1_699_990_000),
            process("web_01", "web", 10, 1, 1_699_999_999),
            process("worker", "jobs", 40, -15, 1_699_999_000),
            process("broken", "jobs", 200, 127, 1_699_999_500),
            process("again", "jobs", 30, 2, 1_699_999_600),
            process("odd", "jobs", 1000, 0, 0),
        ])
    }

    #[test]
    fn the_first_address_is_the_one_to_report() {
        let memory = MemoryHost::new();
        memory.set_conversation(|peer, _| {
            // ECONNRESET from where the server is, ECONNREFUSED from where it is not.
            let error = if peer == "tcp 127.0.0.1:9001" { 104 } else { 111 };
            Err(io::Error::from_raw_os_error(error))
        });
        check_fails::<Supervisord>(
            &memory.host(),
            &[],
            &expect!["tcp 127.0.0.1:9001: Connection reset by peer (os error 104)"],
            &expect![""],
        );
    }

    #[test]
    fn addresses_share_the_time() {
        let now = Instant::now();
        let after = |seconds| now + Duration::from_secs(seconds);
        assert_eq!(share(now, after(10), 2), after(5));
        // The first one gave up early: the last one has all that is left.
        assert_eq!(share(after(1), after(10), 1), after(10));
        assert_eq!(share(after(11), after(10), 3), after(11));
    }

    #[test]
    fn golden() {
        let memory = MemoryHost::new();
        memory.set_conversation(|peer, request| {
            assert_eq!(peer, "tcp 127.0.0.1:9001");
            assert!(request.starts_with(b"POST /RPC2 HTTP/1.0\r\nHost: localhost:9001\r\n"));
            assert!(request.ends_with(processes::CALL.as_bytes()));
            Ok(ordinary())
        });
        check::<Supervisord>(
            &memory.host(),
            &[],
            &expect![[r##"
            # node_supervisord_exit_status gauge
            node_supervisord_exit_status{name="cron",group="cron"} 0
            node_supervisord_exit_status{name="mail",group="mail"} 75
            node_supervisord_exit_status{name="web_00",group="web"} 0
            node_supervisord_exit_status{name="web_01",group="web"} 1
            node_supervisord_exit_status{name="worker",group="jobs"} -15
            node_supervisord_exit_status{name="broken",group="jobs"} 127
            node_supervisord_exit_status{name="again",group="jobs"} 2
            node_supervisord_exit_status{name="odd",group="jobs"} 0
            # node_supervisord_start_time_seconds counter
            node_supervisord_start_time_seconds{name="web_00",group="web"} 1.69999e+09
            node_supervisord_start_time_seconds{name="web_01",group="web"} 1.699999999e+09
            node_supervisord_start_time_seconds{name="worker",group="jobs"} 1.699999e+09
            # node_supervisord_state gauge
            node_supervisord_state{name="cron",group="cron"} 0
            node_supervisord_state{name="mail",group="mail"} 100
            node_supervisord_state{name="web_00",group="web"} 20
            node_supervisord_state{name="web_01",group="web"} 10
            node_supervisord_state{name="worker",group="jobs"} 40
            node_supervisord_state{name="broken",group="jobs"} 200
            node_supervisord_state{name="again",group="jobs"} 30
            node_supervisord_state{name="odd",group="jobs"} 1000
            # node_supervisord_up gauge
            node_supervisord_up{name="cron",group="cron"} 0
            node_supervisord_up{name="mail",group="mail"} 0
            node_supervisord_up{name="web_00",group="web"} 1
            node_supervisord_up{name="web_01",group="web"} 1
            node_supervisord_up{name="worker",group="jobs"} 1
            node_supervisord_up{name="broken",group="jobs"} 0
            node_supervisord_up{name="again",group="jobs"} 0
            node_supervisord_up{name="odd",group="jobs"} 0
        "##]],
        );
    }

    #[test]
    fn no_process_at_all() {
        let memory = MemoryHost::new();
        memory.set_conversation(|_, _| Ok(answer(&[])));
        check::<Supervisord>(&memory.host(), &[], &expect![""]);
    }

    #[test]
    fn a_process_that_comes_and_goes() {
        let memory = MemoryHost::new();
        let mut collector = open::<Supervisord>(&memory.host(), &[]);
        let mut pages = Vec::new();
        for count in [1, 2, 0, 1] {
            memory.set_conversation(move |_, _| {
                let names = ["a", "b"];
                Ok(answer(&names.map(|name| process(name, "g", 20, 0, 5))[..count]))
            });
            let (batch, outcome) = run(&mut collector, None);
            outcome.unwrap();
            pages.push(batch.len());
        }
        assert_eq!(pages, [4, 8, 0, 4]);
    }

    #[test]
    fn the_setting_decides_whom_to_ask() {
        for (url, asked) in [
            ("http://[::1]:9002/RPC2", "tcp [::1]:9002"),
            ("http://192.0.2.1/RPC2", "tcp 192.0.2.1:80"),
            ("unix:///run/supervisor.sock", "unix /run/supervisor.sock"),
        ] {
            let memory = MemoryHost::new();
            memory.set_conversation(move |peer, _| {
                assert_eq!(peer, asked);
                Ok(ordinary())
            });
            let mut collector = open::<Supervisord>(&memory.host(), &[("url", url.into())]);
            let (batch, outcome) = run(&mut collector, None);
            outcome.unwrap();
            assert_eq!(batch.len(), 8 * 3 + 3);
        }
        let refused = refusal::<Supervisord>(&[("url", "https://localhost:9001/RPC2".into())]);
        assert!(refused.starts_with("url: vitald speaks no TLS"), "{refused}");
        let refused = refusal::<Supervisord>(&[("url", "localhost:9001".into())]);
        assert!(refused.starts_with("url: expected http://HOST:PORT/RPC2"), "{refused}");
    }

    /// A server on the loopback may listen in one of the two families alone.
    #[test]
    fn every_address_of_the_server_is_tried() {
        let memory = MemoryHost::new();
        memory.set_conversation(|peer, _| match peer {
            "tcp [::1]:9001" => Ok(ordinary()),
            _ => Err(io::Error::from_raw_os_error(111)),
        });
        let (batch, outcome) = run(&mut open::<Supervisord>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 27);
    }

    #[test]
    fn a_process_that_lacks_something_costs_itself() {
        let memory = MemoryHost::new();
        let broken = process("a", "g", 20, 0, 5).replace("<name>state<", "<name>stat<");
        memory.set_conversation(move |_, _| {
            Ok(answer(&[broken.clone(), process("b", "g", 20, 0, 5)]))
        });
        let (batch, outcome) = run(&mut open::<Supervisord>(&memory.host(), &[]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 4);
        assert_eq!(batch.malformed().map(|(count, _)| count), Some(1));
    }

    #[test]
    fn what_is_not_there_or_no_answer_is_a_fault() {
        let fails = |answer: Option<&'static str>, error: &Expect| {
            let memory = MemoryHost::new();
            if let Some(answer) = answer {
                memory.set_conversation(|_, _| Ok(answer.into()));
            }
            check_fails::<Supervisord>(&memory.host(), &[], error, &expect![""]);
        };
        fails(None, &expect!["tcp 127.0.0.1:9001: Connection refused (os error 111)"]);
        fails(Some("junk\r\n"), &expect!["supervisord: byte 0: expected an answer of HTTP"]);
        fails(
            Some("HTTP/1.0 401 Unauthorized\r\n\r\n"),
            &expect!["supervisord: byte 0: expected an answer, but the server wants a password"],
        );
        fails(
            Some("HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\n<method"),
            &expect!["supervisord: byte 45: expected the rest of an answer of HTTP"],
        );
        fails(
            Some("HTTP/1.0 200 OK\r\n\r\n<html></html>"),
            &expect!["supervisord: byte 0: expected an answer with a list of processes"],
        );
    }

    #[test]
    fn no_cut_and_no_noise_stops_it() {
        let memory = MemoryHost::new();
        let mut collector = open::<Supervisord>(&memory.host(), &[]);
        let whole = ordinary();
        for at in 0..whole.len() {
            for spoilt in [whole[..at].to_vec(), [&whole[..at], b"<\xff&", &whole[at..]].concat()] {
                memory.set_conversation(move |_, _| Ok(spoilt.clone()));
                let (batch, _) = run(&mut collector, None);
                assert!(batch.len() <= 27);
            }
        }
    }

    /// Asks a real server, which has read the request and does something with the connection.
    fn ask_tcp(
        act: impl FnOnce(&mut std::net::TcpStream) + Send + 'static,
    ) -> (String, Result<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://localhost:{}/RPC2", listener.local_addr().unwrap().port());
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // A client that asked again would get no answer.
            drop(listener);
            read_request(&mut stream);
            act(&mut stream);
        });
        let host = Host::new(Roots::default());
        let (batch, outcome) =
            run(&mut open::<Supervisord>(&host, &[("url", url.as_str().into())]), None);
        serving.join().unwrap();
        (render(&batch), outcome)
    }

    fn read_request(stream: &mut impl Read) {
        let (mut request, mut byte) = (Vec::new(), [0]);
        while !request.ends_with(b"</methodCall>") {
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
    }

    #[test]
    fn real_servers() {
        let (page, outcome) = ask_tcp(|stream| stream.write_all(&ordinary()).unwrap());
        outcome.unwrap();
        assert!(page.contains("node_supervisord_up{name=\"web_00\",group=\"web\"} 1\n"), "{page}");
        let (page, outcome) = ask_tcp(|stream| stream.write_all(&ordinary()[..600]).unwrap());
        assert!(outcome.is_err() && page.is_empty());
        let (page, outcome) = ask_tcp(|stream| stream.write_all(b"220 mail ESMTP\r\n").unwrap());
        assert!(outcome.is_err() && page.is_empty());

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap();
        let serving = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            read_request(&mut stream);
            stream.write_all(&ordinary()).unwrap();
        });
        let url = format!("unix://{}", path.display());
        let host = Host::new(Roots::default());
        let (batch, outcome) =
            run(&mut open::<Supervisord>(&host, &[("url", url.as_str().into())]), None);
        outcome.unwrap();
        assert_eq!(batch.len(), 27);
        serving.join().unwrap();
    }
}
