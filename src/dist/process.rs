//! Ranks in processes that have nothing but a socket: each is connected to rank 0, which adds up and
//! deals out. For CPU ranks of one machine, and for tests; see [`crate::dist`] for why.
//!
//! Whoever can connect is trusted: give it an address of the machine or of a private network.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Reduce;
use super::array::Dtype;
use super::host::{Host, Operation, Request, Transport, answer};
use super::launch::World;
use crate::{Error, Result};

/// A rank that meets others over sockets.
pub type Process = Host<Socket>;

/// Meets the other ranks at `world`'s address, waiting for them.
///
/// # Errors
/// [`Error::Rank`] if they do not come within `timeout`.
pub fn connect(world: &World, timeout: Duration) -> Result<Process> {
    let World { rank, world_size, .. } = *world;
    let place = format!("{}:{}", world.address, world.port);
    let failed = |what: String| Error::Rank { rank, operation: "connect", step: 0, what };
    let sockets = if rank == 0 { gather(world, &place, timeout) } else { reach(world, &place, timeout) };
    let links = Links { sockets: sockets.map_err(failed)?, failure: None };
    Ok(Host::new(Socket { rank, world_size, timeout, links: Mutex::new(links) }))
}

/// What a connection begins with, so that no other program is taken for a rank.
const HELLO: &[u8; 8] = b"recis d1";

/// A rank's connections: to all others on rank 0, to rank 0 on all others.
pub struct Socket {
    rank: usize,
    world_size: usize,
    timeout: Duration,
    links: Mutex<Links>,
}

struct Links {
    /// On rank 0 by rank, beginning with rank 1.
    sockets: Vec<TcpStream>,
    failure: Option<String>,
}

/// Rank 0 waits for the others.
fn gather(world: &World, place: &str, timeout: Duration) -> Result<Vec<TcpStream>, String> {
    let at = |e: io::Error| format!("cannot listen at {place} (MASTER_ADDR:MASTER_PORT): {e}");
    let listener = TcpListener::bind(place).map_err(at)?;
    listener.set_nonblocking(true).map_err(at)?;
    let deadline = Instant::now() + timeout;
    let mut found: Vec<Option<TcpStream>> = (1..world.world_size).map(|_| None).collect();
    while let Some(absent) = found.iter().position(Option::is_none) {
        match listener.accept() {
            Ok((socket, from)) => {
                let greeted = set_up(&socket, timeout).and_then(|()| greeting(&socket));
                let Ok(Some([rank, ranks])) = greeted else {
                    // Not one of ours; ours would come again.
                    continue;
                };
                if ranks != world.world_size as u64 {
                    return Err(format!(
                        "rank {rank} at {from} is one of {ranks}, this is one of {}",
                        world.world_size
                    ));
                }
                let seat = (rank as usize).checked_sub(1).and_then(|place| found.get_mut(place));
                match seat {
                    Some(seat @ None) => *seat = Some(socket),
                    _ => return Err(format!("two ranks call themselves {rank}; the second is at {from}")),
                }
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => {
                let seconds = timeout.as_secs_f64();
                return Err(format!("rank {} has not come to {place} within {seconds} s", absent + 1));
            }
            Err(e) => return Err(at(e)),
        }
    }
    Ok(found.into_iter().flatten().collect())
}

/// The other ranks look for rank 0.
fn reach(world: &World, place: &str, timeout: Duration) -> Result<Vec<TcpStream>, String> {
    let deadline = Instant::now() + timeout;
    loop {
        let attempt = place.to_socket_addrs().and_then(|mut addresses| {
            let address = addresses.next().ok_or_else(|| io::Error::other("no such host"))?;
            let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
            set_up(&socket, timeout)?;
            socket.write_all(HELLO)?;
            socket.write_all(&(world.rank as u64).to_le_bytes())?;
            socket.write_all(&(world.world_size as u64).to_le_bytes())?;
            Ok(socket)
        });
        match attempt {
            Ok(socket) => return Ok(vec![socket]),
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            Err(e) => return Err(format!("rank 0 is not at {place} (MASTER_ADDR:MASTER_PORT): {e}")),
        }
    }
}

fn set_up(socket: &TcpStream, timeout: Duration) -> io::Result<()> {
    socket.set_nonblocking(false)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(timeout))?;
    socket.set_write_timeout(Some(timeout))
}

/// The rank that a connection comes from, and how many it thinks there are.
fn greeting(mut socket: &TcpStream) -> io::Result<Option<[u64; 2]>> {
    let mut hello = [0; 8];
    socket.read_exact(&mut hello)?;
    Ok(if &hello == HELLO { Some([read_u64(socket)?, read_u64(socket)?]) } else { None })
}

impl Transport for Socket {
    fn rank(&self) -> usize {
        self.rank
    }

    fn world_size(&self) -> usize {
        self.world_size
    }

    fn call(&self, request: Request) -> Result<Vec<u8>> {
        let (operation, step) = (request.operation.name(), request.step);
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match &links.failure {
            Some(what) => Err(what.clone()),
            None if self.rank == 0 => self.serve(&links.sockets, request),
            None => self.ask(&links.sockets[0], &request),
        };
        answer.map_err(|what| {
            links.failure = Some(what.clone());
            Error::Rank { rank: self.rank, operation, step, what }
        })
    }
}

impl Socket {
    /// Rank 0's side: takes what all others bring, and answers.
    fn serve(&self, sockets: &[TcpStream], own: Request) -> Result<Vec<u8>, String> {
        let mut requests = vec![own];
        let answers = sockets.iter().zip(1..).try_for_each(|(socket, rank)| {
            requests.push(read_request(socket).map_err(|e| self.lost(rank, &e))?);
            Ok(())
        });
        let answers = answers.and_then(|()| answer(requests)).and_then(|mut answers| {
            for ((socket, answer), rank) in sockets.iter().zip(&answers[1..]).zip(1..) {
                write_answer(socket, true, answer).map_err(|e| self.lost(rank, &e))?;
            }
            Ok(answers.swap_remove(0))
        });
        if let Err(what) = &answers {
            // Those that are still there learn who is not; the one that is gone cannot be told.
            for socket in sockets {
                _ = write_answer(socket, false, what.as_bytes());
            }
        }
        answers
    }

    /// The other ranks' side.
    fn ask(&self, socket: &TcpStream, request: &Request) -> Result<Vec<u8>, String> {
        // A connection that takes no more may still hold the reason.
        let written = write_request(socket, request);
        match read_answer(socket) {
            Ok((true, bytes)) => written.map(|()| bytes).map_err(|e| self.lost(0, &e)),
            Ok((false, what)) => Err(String::from_utf8_lossy(&what).into_owned()),
            Err(e) => Err(self.lost(0, &e)),
        }
    }

    fn lost(&self, rank: usize, error: &io::Error) -> String {
        match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                format!("rank {rank} has not come within {} s", self.timeout.as_secs_f64())
            }
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                format!("rank {rank} is gone (its connection is closed)")
            }
            _ => format!("rank {rank} cannot be reached: {error}"),
        }
    }
}

impl Process {
    /// Whether a rank is gone, or says that one is. For a watchdog, while nothing is exchanged here.
    pub(super) fn find_lost(&self) -> Option<String> {
        let socket = self.transport();
        let links = socket.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.sockets.iter().zip(usize::from(socket.rank == 0)..).find_map(|(link, rank)| {
            _ = link.set_nonblocking(true);
            let found = link.peek(&mut [0]);
            _ = link.set_nonblocking(false);
            match found {
                Ok(0) => Some(socket.lost(rank, &ErrorKind::UnexpectedEof.into())),
                Ok(_) => match read_answer(link) {
                    Ok((_, what)) => Some(String::from_utf8_lossy(&what).into_owned()),
                    Err(e) => Some(socket.lost(rank, &e)),
                },
                Err(e) if e.kind() == ErrorKind::WouldBlock => None,
                Err(e) => Some(socket.lost(rank, &e)),
            }
        })
    }

    /// Tells those that are connected here why this rank gives up.
    pub(super) fn pass_on(&self, what: &str) {
        let links = self.transport().links.lock().unwrap_or_else(PoisonError::into_inner);
        for socket in &links.sockets {
            _ = write_answer(socket, false, what.as_bytes());
        }
    }
}

fn write_request(mut socket: &TcpStream, request: &Request) -> io::Result<()> {
    let [operation, dtype, reduce, root] = code(request.operation);
    let mut head = Vec::with_capacity(64 + request.parts.len() * 8);
    let numbers = [operation, dtype, reduce, root, request.step, request.parts.len() as u64];
    numbers.iter().chain(&request.parts).for_each(|n| head.extend_from_slice(&n.to_le_bytes()));
    head.extend_from_slice(&(request.bytes.len() as u64).to_le_bytes());
    socket.write_all(&head)?;
    socket.write_all(&request.bytes)
}

fn read_request(socket: &TcpStream) -> io::Result<Request> {
    let next = || read_u64(socket);
    let operation = operation([next()?, next()?, next()?, next()?])?;
    let step = next()?;
    let parts = (0..next()?).map(|_| next()).collect::<io::Result<_>>()?;
    Ok(Request { operation, step, parts, bytes: read_bytes(socket)? })
}

fn write_answer(mut socket: &TcpStream, good: bool, bytes: &[u8]) -> io::Result<()> {
    let mut head = [0; 16];
    head[..8].copy_from_slice(&u64::from(good).to_le_bytes());
    head[8..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    socket.write_all(&head)?;
    socket.write_all(bytes)
}

fn read_answer(socket: &TcpStream) -> io::Result<(bool, Vec<u8>)> {
    Ok((read_u64(socket)? == 1, read_bytes(socket)?))
}

fn read_u64(mut socket: &TcpStream) -> io::Result<u64> {
    let mut bytes = [0; 8];
    socket.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn read_bytes(socket: &TcpStream) -> io::Result<Vec<u8>> {
    let length = read_u64(socket)?;
    let mut bytes = Vec::new();
    // Grows as bytes come, whatever length was said.
    socket.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

/// An operation as four numbers.
fn code(operation: Operation) -> [u64; 4] {
    match operation {
        Operation::AllReduce(dtype, reduce) => [0, dtype as u64, u64::from(reduce == Reduce::Max), 0],
        Operation::AllGather(dtype) => [1, dtype as u64, 0, 0],
        Operation::Broadcast(dtype, root) => [2, dtype as u64, 0, root as u64],
        Operation::AllToAll(dtype) => [3, dtype as u64, 0, 0],
        Operation::ExchangeCounts => [4, 0, 0, 0],
        Operation::Barrier => [5, 0, 0, 0],
    }
}

fn operation([operation, dtype, reduce, root]: [u64; 4]) -> io::Result<Operation> {
    let unknown = || io::Error::new(ErrorKind::InvalidData, "it says what this version does not know");
    let dtype = match dtype {
        0 => Dtype::F32,
        1 => Dtype::I64,
        2 => Dtype::U64,
        _ => return Err(unknown()),
    };
    Ok(match operation {
        0 => Operation::AllReduce(dtype, if reduce == 1 { Reduce::Max } else { Reduce::Sum }),
        1 => Operation::AllGather(dtype),
        2 => Operation::Broadcast(dtype, root as usize),
        3 => Operation::AllToAll(dtype),
        4 => Operation::ExchangeCounts,
        5 => Operation::Barrier,
        _ => return Err(unknown()),
    })
}
