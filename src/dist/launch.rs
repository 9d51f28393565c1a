//! Which rank this process is, and starting the ranks of one machine.
//!
//! A program is started once for each rank by torchrun, mpirun or srun, which say by their variables
//! which one it is ([`World::from_env`]); or it starts itself ([`start`]).

use std::process::{Child, Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::{Error, Result};

/// Where a rank stands among the others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World {
    /// This rank, below `world_size`.
    pub rank: usize,
    /// This rank among those of its machine: the number of its device.
    pub local_rank: usize,
    /// How many ranks there are.
    pub world_size: usize,
    /// Where rank 0 is.
    pub address: String,
    /// The port at which rank 0 waits for the others.
    pub port: u16,
}

/// Who starts ranks, and the variables by which it tells rank, local rank and number.
const LAUNCHERS: [(&str, [&str; 3]); 4] = [
    ("torchrun", ["RANK", "LOCAL_RANK", "WORLD_SIZE"]),
    ("Open MPI", ["OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_SIZE"]),
    ("MPICH", ["PMI_RANK", "MPI_LOCALRANKID", "PMI_SIZE"]),
    // Not SLURM_NTASKS, which a batch script itself has too, with rank 0.
    ("Slurm", ["SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS"]),
];

impl World {
    /// What the process's variables say, by whoever started it; none: there is one rank.
    ///
    /// # Errors
    /// [`Error::Option`], naming the variable, for what cannot be.
    pub fn from_env() -> Result<Option<Self>> {
        Self::from_variables(|name| std::env::var(name).ok())
    }

    /// [`World::from_env`] with variables of one's own. `MASTER_ADDR` and `MASTER_PORT` say where
    /// rank 0 is; without them that is this machine, and port 29500.
    pub fn from_variables(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>> {
        let launcher =
            LAUNCHERS.iter().find(|(_, [rank, _, ranks])| get(rank).is_some() && get(ranks).is_some());
        let Some((launcher, [rank, local_rank, ranks])) = launcher else { return Ok(None) };
        let number = |name: &str| match get(name).map(|text| text.trim().parse::<usize>()) {
            None => Ok(None),
            Some(Ok(number)) => Ok(Some(number)),
            Some(Err(_)) => Err(Error::option(name, format!("is no number; {launcher} sets it"))),
        };
        let (rank_is, ranks_are) = (number(rank)?.unwrap_or(0), number(ranks)?.unwrap_or(1));
        if rank_is >= ranks_are {
            return Err(Error::option(*rank, format!("is {rank_is}, but {ranks} is {ranks_are}")));
        }
        if ranks_are == 1 {
            return Ok(None);
        }
        let local_rank = number(local_rank)?.unwrap_or(rank_is);
        let given = get("MASTER_ADDR");
        if given.is_none() && number("SLURM_NNODES")?.is_some_and(|nodes| nodes > 1) {
            return Err(Error::option(
                "MASTER_ADDR",
                "is not set; with several machines, say where rank 0 is",
            ));
        }
        let port = match get("MASTER_PORT").map(|text| text.parse::<u16>()) {
            None => 29_500,
            Some(Ok(port)) => port,
            Some(Err(_)) => return Err(Error::option("MASTER_PORT", "is no port")),
        };
        // torchrun itself listens at MASTER_PORT then.
        let taken = get("TORCHELASTIC_USE_AGENT_STORE").is_some_and(|text| text == "True");
        let port = if taken { port.wrapping_add(1) } else { port };
        let address = given.unwrap_or_else(|| "127.0.0.1".into());
        Ok(Some(Self { rank: rank_is, local_rank, world_size: ranks_are, address, port }))
    }

    /// The variables that say this, torchrun's.
    pub fn variables(&self) -> [(&'static str, String); 5] {
        [
            ("RANK", self.rank.to_string()),
            ("LOCAL_RANK", self.local_rank.to_string()),
            ("WORLD_SIZE", self.world_size.to_string()),
            ("MASTER_ADDR", self.address.clone()),
            ("MASTER_PORT", self.port.to_string()),
        ]
    }
}

/// How long ranks have to say what they think of the end of another before they are ended.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Starts this program `ranks` times with its own arguments, each time as another rank, and waits
/// for all. Once `stop` is set, they are asked to stop (SIGTERM).
///
/// # Errors
/// The first rank that fails: the others are ended within seconds.
pub fn start(ranks: usize, stop: &AtomicBool) -> Result<()> {
    let program = std::env::current_exe().map_err(Error::io("the program itself"))?;
    start_with(ranks, stop, |_| {
        let mut command = Command::new(&program);
        command.args(std::env::args_os().skip(1));
        command
    })
}

/// [`start`] for programs of one's own: `program` makes that of a rank.
pub fn start_with(ranks: usize, stop: &AtomicBool, mut program: impl FnMut(usize) -> Command) -> Result<()> {
    let port = free_port()?;
    let mut children = Children(Vec::new());
    for rank in 0..ranks {
        let world = World { rank, local_rank: rank, world_size: ranks, address: "127.0.0.1".into(), port };
        let child = program(rank).envs(world.variables()).spawn();
        children.0.push((rank, child.map_err(Error::io(format!("rank {rank}")))?));
    }
    let mut asked = false;
    while !children.0.is_empty() {
        if let Some((rank, status)) = children.reap()? {
            children.wait_for(LAST_WORDS)?;
            let what = format!("ended with {status}; what it said is above. The others were ended");
            return Err(Error::Rank { rank, operation: "run", step: 0, what });
        }
        if stop.load(Ordering::Relaxed) && !asked {
            asked = true;
            children.terminate();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A port that nobody uses.
fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
    Ok(listener.map_err(Error::io("127.0.0.1"))?.port())
}

/// Ranks that run; dropped, they are ended.
struct Children(Vec<(usize, Child)>);

impl Children {
    /// Takes out those that have ended well, or the first that has not.
    fn reap(&mut self) -> Result<Option<(usize, ExitStatus)>> {
        let mut failed = None;
        let mut running = Vec::new();
        for (rank, mut child) in self.0.drain(..) {
            match child.try_wait().map_err(Error::io(format!("rank {rank}")))? {
                None => running.push((rank, child)),
                Some(status) if !status.success() && failed.is_none() => failed = Some((rank, status)),
                Some(_) => {}
            }
        }
        self.0 = running;
        Ok(failed)
    }

    fn wait_for(&mut self, time: Duration) -> Result<()> {
        let deadline = Instant::now() + time;
        while !self.0.is_empty() && Instant::now() < deadline {
            self.reap()?;
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn terminate(&self) {
        for (_, child) in &self.0 {
            // SAFETY: a child that has not been waited for, so its number is its own.
            unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGTERM) };
        }
    }
}

impl Drop for Children {
    fn drop(&mut self) {
        for (_, child) in &mut self.0 {
            _ = child.kill();
            _ = child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn world(variables: &[(&str, &str)]) -> Result<Option<World>> {
        World::from_variables(|name| {
            variables.iter().find(|(n, _)| *n == name).map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn every_launcher_is_understood() {
        let expected =
            World { rank: 3, local_rank: 1, world_size: 4, address: "127.0.0.1".into(), port: 29_500 };
        for (_, [rank, local_rank, ranks]) in LAUNCHERS {
            let found = world(&[(rank, "3"), (local_rank, "1"), (ranks, "4")]).unwrap().unwrap();
            assert_eq!(found, expected);
        }
        let at = [("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "host"), ("MASTER_PORT", "7")];
        let found = world(&at).unwrap().unwrap();
        assert_eq!((found.address.as_str(), found.port), ("host", 7));
        let with_agent: Vec<_> = at.into_iter().chain([("TORCHELASTIC_USE_AGENT_STORE", "True")]).collect();
        assert_eq!(world(&with_agent).unwrap().unwrap().port, 8);
    }

    #[test]
    fn one_rank_is_no_world() {
        assert_eq!(world(&[]).unwrap(), None);
        assert_eq!(world(&[("RANK", "0"), ("WORLD_SIZE", "1")]).unwrap(), None);
        // A batch script of Slurm, before srun.
        assert_eq!(world(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "8")]).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (variables, named) in [
            (vec![("RANK", "x"), ("WORLD_SIZE", "2")], "RANK"),
            (vec![("RANK", "2"), ("WORLD_SIZE", "2")], "RANK"),
            (vec![("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_PORT", "x")], "MASTER_PORT"),
            (
                vec![("SLURM_PROCID", "0"), ("SLURM_STEP_NUM_TASKS", "2"), ("SLURM_NNODES", "2")],
                "MASTER_ADDR",
            ),
        ] {
            let error = world(&variables).unwrap_err().to_string();
            assert!(error.starts_with(&format!("{named}: ")), "{error}");
        }
    }
}
