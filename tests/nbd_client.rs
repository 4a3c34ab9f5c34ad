//! The blocking client: against memory, and against servers that misbehave.
//! Always: an error that was answered leaves the connection usable; every other one is told apart.

// The whole file is a test, helpers included.
#![allow(clippy::unwrap_used)]

use harness::nbd_memory::MemoryServer;
use lockstep_nbd::client::{Address, Broken, Client, ClientError, Options, Stream, Zeroes};
use lockstep_nbd::protocol::constants::{PAYLOAD_BYTES_MAX, STATE_HOLE, STATE_ZERO, rep};
use lockstep_nbd::protocol::{
    Command, Connection, Cookie, Errno, Export, Negotiated, StatusExtent, What, none_chunk,
    read_chunk_head, simple_reply, success,
};
use std::collections::HashSet;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::Duration;

const SIZE: u64 = 64 << 20;

fn serve() -> MemoryServer {
    let export = Export::new("vol", SIZE).unwrap().with_description("in memory").unwrap();
    MemoryServer::start(export.with_fast_zero(true)).unwrap()
}

fn simple() -> Options {
    Options { structured: false, ..Options::default() }
}

fn connect(server: &MemoryServer, options: &Options) -> Client {
    Client::connect(&Address::Unix(server.socket()), options).unwrap()
}

/// Runs `test` with each form of replies.
fn with_both_forms(test: impl Fn(Client)) {
    let server = serve();
    for options in [simple(), Options::default()] {
        test(connect(&server, &options));
    }
}

/// A server that shakes hands and then does what `act` says, once a request has come.
fn misbehave(
    options: &Options,
    act: impl FnOnce(&mut UnixStream) + Send + 'static,
) -> (Client, JoinHandle<()>) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let thread = thread::spawn(move || {
        let export = Export::new("vol", SIZE).unwrap();
        let (mut out, mut input) = (Vec::new(), Vec::new());
        let mut connection = Connection::greet(&mut out);
        while connection.negotiated().is_none() {
            theirs.write_all(&out).unwrap();
            out.clear();
            let mut byte = [0];
            theirs.read_exact(&mut byte).unwrap();
            input.push(byte[0]);
            let step = connection.step(&export, &input, &mut out);
            input.drain(..step.consumed);
            assert!(matches!(step.what, What::More | What::Entered(_)));
        }
        theirs.write_all(&out).unwrap();
        theirs.read_exact(&mut [0; 28]).unwrap();
        act(&mut theirs);
    });
    (Client::over(Stream::Unix(ours), options).unwrap(), thread)
}

#[test]
fn the_server_tells_what_the_export_is() {
    let client = connect(&serve(), &Options::default());
    let info = client.info();
    assert_eq!((info.name.as_str(), info.description.as_str()), ("vol", "in memory"));
    assert_eq!((info.size, info.block_min, info.payload_max), (SIZE, 4096, PAYLOAD_BYTES_MAX));
    assert_eq!(info.negotiated, Negotiated { structured: true, allocation: true });
    let client = connect(&serve(), &simple());
    assert_eq!(client.info().negotiated, Negotiated::default());
}

#[test]
fn what_was_written_is_read() {
    with_both_forms(|mut client| {
        for (offset, len) in [(0, 4096), (1 << 20, 1 << 20), (8192, 69_632)] {
            let written: Vec<u8> = (0..len).map(|at: u32| at.to_be_bytes()[2] ^ 0x5a).collect();
            client.write(offset, &written, offset == 0).unwrap();
            let mut read = vec![0; written.len()];
            client.read(offset, &mut read).unwrap();
            assert!(read == written, "{len} bytes at {offset}");
        }
        client.flush().unwrap();
        client.disconnect().unwrap();
    });
}

#[test]
fn the_largest_payload_goes_through_both_ways() {
    with_both_forms(|mut client| {
        let written = vec![0xc3; PAYLOAD_BYTES_MAX as usize];
        client.write(4096, &written, false).unwrap();
        let mut read = vec![0; written.len()];
        client.read(4096, &mut read).unwrap();
        assert!(read == written);
    });
}

#[test]
fn a_read_in_pieces_with_holes_is_put_together() {
    let server = serve();
    let mut client = connect(&server, &Options::default());
    client.write(128 << 10, &[7; 64 << 10], false).unwrap();
    client.write(300 << 10, &[8; 4096], false).unwrap();
    let mut read = vec![1; 512 << 10];
    client.read(0, &mut read).unwrap();
    let mut expected = vec![0; 512 << 10];
    expected[128 << 10..192 << 10].fill(7);
    expected[300 << 10..304 << 10].fill(8);
    assert!(read == expected);
}

#[test]
fn zeroes_and_trims_are_carried_out() {
    with_both_forms(|mut client| {
        client.write(0, &[9; 65_536], false).unwrap();
        client.write_zeroes(0, 4096, Zeroes::default()).unwrap();
        client.write_zeroes(8192, 4096, Zeroes { fua: true, no_hole: true, fast: false }).unwrap();
        client.trim(16_384, 4096, true).unwrap();
        let mut read = vec![0; 20_480];
        client.read(0, &mut read).unwrap();
        let blocks: Vec<u8> = read.chunks(4096).map(|block| block[0]).collect();
        assert_eq!(blocks, [0, 9, 0, 9, 0]);
    });
}

#[test]
fn block_status_is_told_in_extents_or_in_one() {
    let server = serve();
    let mut client = connect(&server, &Options::default());
    client.write(4096, &[1; 4096], false).unwrap();
    let hole = StatusExtent { len: 4096, flags: STATE_HOLE | STATE_ZERO };
    let data = StatusExtent { len: 4096, flags: 0 };
    assert_eq!(client.block_status(0, 12_288, false).unwrap(), [hole, data, hole]);
    assert_eq!(client.block_status(0, 12_288, true).unwrap(), [hole]);
}

#[test]
fn an_error_that_was_answered_carries_its_number_and_the_connection_goes_on() {
    with_both_forms(|mut client| {
        let error = client.write(SIZE, &[0; 4096], false).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::NoSpc), "{error}");
        let error = client.read(1, &mut [0; 4096]).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::Inval), "{error}");
        let fast = Zeroes { fast: true, ..Zeroes::default() };
        let error = client.write_zeroes(0, 4096, fast).unwrap_err();
        assert_eq!(error.errno(), Some(Errno::NotSup), "{error}");
        client.read(0, &mut [0; 4096]).unwrap();
    });
}

#[test]
fn an_export_that_is_not_there_is_refused() {
    let server = serve();
    let options = Options { export: "other".into(), allocation: false, ..Options::default() };
    let error = Client::connect(&Address::Unix(server.socket()), &options).unwrap_err();
    assert!(matches!(error, ClientError::Refused { kind: rep::ERR_UNKNOWN, .. }), "{error}");
}

#[test]
fn one_thread_keeps_many_requests_in_flight() {
    with_both_forms(|client| {
        let (mut sender, mut receiver) = client.split();
        let mut data = Vec::new();
        let mut open: HashSet<Cookie> = HashSet::new();
        for round in 0..64_u64 {
            open.insert(sender.send_write(round * 4096, &[3; 4096], false).unwrap());
            if sender.in_flight() >= 16 {
                let reply = receiver.recv_reply(&mut data).unwrap();
                assert_eq!(reply.result, Ok(()));
                assert!(open.remove(&reply.cookie));
            }
        }
        open.insert(sender.send_flush().unwrap());
        open.insert(sender.send_read(0, 64 * 4096).unwrap());
        while !open.is_empty() {
            let reply = receiver.recv_reply(&mut data).unwrap();
            assert_eq!(reply.result, Ok(()));
            assert!(open.remove(&reply.cookie));
            let expected =
                if matches!(reply.command, Command::Read { .. }) { 64 * 4096 } else { 0 };
            assert_eq!(data.len(), expected);
        }
        assert_eq!(sender.in_flight(), 0);
        assert!(data.iter().all(|byte| *byte == 3));
    });
}

#[test]
fn two_threads_move_more_than_sockets_buffer() {
    with_both_forms(|client| {
        let (mut sender, mut receiver) = client.split();
        let sending = thread::spawn(move || {
            for round in 0..32_u32 {
                sender.send_write(u64::from(round) << 20, &vec![5; 1 << 20], false).unwrap();
                sender.send_read(u64::from(round) << 20, 1 << 20).unwrap();
            }
            sender
        });
        let mut data = Vec::new();
        for _ in 0..64 {
            assert_eq!(receiver.recv_reply(&mut data).unwrap().result, Ok(()));
            assert!(data.iter().all(|byte| *byte == 5));
        }
        assert_eq!(sending.join().unwrap().in_flight(), 0);
    });
}

#[test]
fn chunks_of_two_reads_may_be_interleaved() {
    let (client, server) = misbehave(&Options::default(), |socket| {
        socket.read_exact(&mut [0; 28]).unwrap();
        for (cookie, at, byte) in [(1, 4096, 1), (2, 0, 2), (1, 0, 3)] {
            socket.write_all(&read_chunk_head(Cookie(cookie), at, 4096, false)).unwrap();
            socket.write_all(&[byte; 4096]).unwrap();
        }
        socket.write_all(&none_chunk(Cookie(2))).unwrap();
        socket.write_all(&none_chunk(Cookie(1))).unwrap();
    });
    let (mut sender, mut receiver) = client.split();
    sender.send_read(0, 8192).unwrap();
    sender.send_read(0, 4096).unwrap();
    let mut data = Vec::new();
    assert_eq!(receiver.recv_reply(&mut data).unwrap().cookie, Cookie(2));
    assert_eq!(data, [2; 4096]);
    assert_eq!(receiver.recv_reply(&mut data).unwrap().cookie, Cookie(1));
    assert_eq!(data, [[3; 4096], [1; 4096]].concat());
    server.join().unwrap();
}

#[test]
fn a_time_out_between_messages_loses_nothing() {
    let (go, told) = std::sync::mpsc::channel();
    let (client, server) = misbehave(&simple(), move |socket| {
        told.recv().unwrap();
        socket.write_all(&success(Cookie(1))).unwrap();
    });
    client.set_timeouts(Some(Duration::from_millis(20)), None).unwrap();
    let (mut sender, mut receiver) = client.split();
    sender.send_flush().unwrap();
    let error = receiver.recv_reply(&mut Vec::new()).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { clean: true, .. }), "{error}");
    go.send(()).unwrap();
    receiver.set_timeout(None).unwrap();
    assert_eq!(receiver.recv_reply(&mut Vec::new()).unwrap().cookie, Cookie(1));
    server.join().unwrap();
}

#[test]
fn a_time_out_in_the_midst_of_a_message_ends_the_connection() {
    let (done, held) = std::sync::mpsc::channel::<()>();
    let (mut client, server) = misbehave(&simple(), move |socket| {
        socket.write_all(&success(Cookie(1))[..7]).unwrap();
        // Ends when the client has seen enough.
        assert!(held.recv().is_err());
    });
    client.set_timeouts(Some(Duration::from_millis(20)), None).unwrap();
    let error = client.flush().unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { clean: false, .. }), "{error}");
    assert!(matches!(client.flush().unwrap_err(), ClientError::OutOfStep));
    drop(done);
    server.join().unwrap();
}

#[test]
fn a_server_that_goes_away_is_told_from_one_that_answers() {
    let (mut client, server) = misbehave(&simple(), |_| {});
    let error = client.flush().unwrap_err();
    assert!(matches!(error, ClientError::Closed { .. }), "{error}");
    assert_eq!(error.errno(), None);
    server.join().unwrap();
}

/// The error of a read of 8192 bytes at 4096 that a server answers with `bytes`.
fn broken_by(options: &Options, bytes: Vec<u8>) -> Broken {
    let (mut client, server) = misbehave(options, move |socket| {
        socket.write_all(&bytes).unwrap();
        // Until the client hangs up, so that it is not the end of the stream that it sees.
        drop(socket.read_to_end(&mut Vec::new()));
    });
    let error = client.read(4096, &mut [0; 8192]).unwrap_err();
    drop(client);
    server.join().unwrap();
    match error {
        ClientError::Broken(broken) => broken,
        other => panic!("{other}"),
    }
}

#[test]
fn a_server_that_breaks_the_protocol_is_found_out() {
    let chunks = Options::default();
    let data = |offset: u64, len: u32| {
        let head = read_chunk_head(Cookie(1), offset, len, true).to_vec();
        [head, vec![0; len as usize]].concat()
    };
    let form = Broken::Form { command: Command::Read { whole: false } };
    let cookie = Cookie(99);
    assert_eq!(broken_by(&simple(), success(cookie).to_vec()), Broken::Cookie { cookie });
    assert_eq!(broken_by(&chunks, success(Cookie(1)).to_vec()), form);
    let refused = simple_reply(Cookie(1), Err(Errno::Io)).to_vec();
    assert_eq!(broken_by(&chunks, refused), form);
    assert_eq!(broken_by(&simple(), data(4096, 8192)), form);
    let short = Broken::Short { got: 4096, len: 8192 };
    assert_eq!(broken_by(&chunks, data(4096, 4096)), short);
    assert_eq!(
        broken_by(&chunks, none_chunk(Cookie(1)).to_vec()),
        Broken::Short { got: 0, len: 8192 }
    );
    for offset in [0, 8192, u64::MAX] {
        let range = Broken::Range { offset, len: 8192 };
        assert_eq!(broken_by(&chunks, data(offset, 8192)), range);
    }
    assert!(matches!(broken_by(&simple(), vec![0; 16]), Broken::Malformed(_)));
    let mut long = read_chunk_head(Cookie(1), 0, 8, true);
    long[16..20].fill(0xff);
    assert!(matches!(broken_by(&chunks, long.to_vec()), Broken::Malformed(_)));
}

#[test]
fn no_server_names_the_address() {
    let error = Client::connect(&"/nowhere/nbd.sock".parse().unwrap(), &simple()).unwrap_err();
    assert!(error.to_string().contains("unix:/nowhere/nbd.sock"), "{error}");
    assert_eq!("unix:n".parse(), Ok(Address::Unix("n".into())));
    assert_eq!("127.0.0.1:10809".parse(), Ok(Address::Tcp("127.0.0.1:10809".into())));
}
