//! One run: its settings, its servers, and what the workloads share.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::{
    fleet::Fleet,
    machine,
    node::{People, Plan},
    peer::{Layout, Magpie, Peer, Raw, Stock},
    report::Report,
    server::{Kind, Server},
};

/// Rooms of these sizes are measured; every user is in one of each.
const GROUP_SIZES: [usize; 3] = [10, 100, 1_000];
/// So many senders are measured, two in a direct room.
const SENDERS: [usize; 3] = [1, 16, 256];

/// What a run does.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) rounds: usize,
    pub(crate) peers: Vec<Kind>,
    /// Deliveries a second that are offered in fan-out.
    pub(crate) rate: u64,
    /// How long a measurement lasts.
    pub(crate) length: Duration,
    /// How long idle streams are left alone before memory is read.
    pub(crate) settle: Duration,
    pub(crate) group_sizes: Vec<usize>,
    pub(crate) senders: Vec<usize>,
    pub(crate) idle_streams: usize,
    pub(crate) reconnects: usize,
    /// The node's program.
    pub(crate) node: Option<PathBuf>,
}

impl Settings {
    /// What is measured for the record.
    pub(crate) fn full() -> Self {
        Self {
            rounds: 5,
            peers: vec![Kind::Raw, Kind::Stock, Kind::Magpie],
            rate: 20_000,
            length: Duration::from_secs(5),
            settle: Duration::from_secs(40),
            group_sizes: GROUP_SIZES.to_vec(),
            senders: SENDERS.to_vec(),
            idle_streams: 5_000,
            reconnects: 2_000,
            node: None,
        }
    }

    /// A look at whether everything works; its figures mean little.
    pub(crate) fn quick() -> Self {
        Self {
            rounds: 1,
            length: Duration::from_secs(1),
            settle: Duration::from_secs(1),
            group_sizes: vec![10, 100],
            senders: vec![1, 16],
            idle_streams: 500,
            reconnects: 200,
            ..Self::full()
        }
    }

    /// How many members are connected in fan-out: as many whatever the rooms' size.
    pub(crate) fn members(&self) -> usize {
        self.group_sizes.iter().copied().max().unwrap_or(0)
    }
}

/// The dialects; Magpie's keeps the cursors of its devices over all connections.
#[derive(Debug)]
pub(crate) struct Dialects {
    raw: Raw,
    stock: Stock,
    magpie: Option<Magpie>,
}

impl Dialects {
    pub(crate) fn of(&mut self, kind: Kind) -> anyhow::Result<&mut dyn Peer> {
        Ok(match kind {
            Kind::Raw => &mut self.raw,
            Kind::Stock => &mut self.stock,
            Kind::Magpie => self.magpie.as_mut().context("nobody lives on the node")?,
        })
    }
}

/// A run under way.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) settings: Settings,
    pub(crate) report: Report,
    dir: TempDir,
    dialects: Dialects,
    people: Option<Arc<People>>,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    pub(crate) fn new(settings: Settings, dir: &Path, report: Report) -> anyhow::Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix("magpie-bench-")
            .tempdir_in(dir);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Ok(Self {
            settings,
            report,
            dir: dir.context("no directory for the run")?,
            dialects: Dialects {
                raw: Raw,
                stock: Stock,
                magpie: None,
            },
            people: None,
            runtime: runtime.context("no runtime")?,
        })
    }

    /// Starts a server. Where it is a node, its people exist and have fresh tokens afterwards.
    pub(crate) fn start(&mut self, kind: Kind) -> anyhow::Result<Server> {
        let server = Server::start(kind, self.settings.node.as_deref(), self.dir.path())?;
        if kind == Kind::Magpie {
            let done = self.people(&server);
            done.with_context(|| format!("the node's log ends:\n{}", server.child.log_tail()))?;
        }
        Ok(server)
    }

    fn people(&mut self, server: &Server) -> anyhow::Result<()> {
        if let Some(people) = &self.people {
            return self.runtime.block_on(people.renew(server.address));
        }
        let plan = Plan {
            users: self.settings.members(),
            group_sizes: self.settings.group_sizes.clone(),
            paired: self.settings.senders.iter().copied().max().unwrap_or(0),
        };
        self.report
            .progress(&format!("signing up {} users", plan.users));
        let began = Instant::now();
        let people = self
            .runtime
            .block_on(People::settle(server.address, &plan))?;
        self.report.progress(&format!(
            "signed up in {:.0} s",
            began.elapsed().as_secs_f64()
        ));
        let people = Arc::new(people);
        self.dialects.magpie = Some(Magpie::new(Arc::clone(&people)));
        self.people = Some(people);
        Ok(())
    }

    /// A fleet for a server, without connections yet.
    pub(crate) fn fleet(&mut self, server: &Server, layout: Layout) -> anyhow::Result<Fleet<'_>> {
        Fleet::new(self.dialects.of(server.kind)?, server.address, layout)
    }

    /// The peers that were asked for, in this round's order: forth and back, so that a drift of
    /// the machine meets all alike.
    pub(crate) fn order(&self, round: usize) -> Vec<Kind> {
        let mut order = self.settings.peers.clone();
        if round % 2 == 1 {
            order.reverse();
        }
        order
    }

    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.settings.peers.contains(&kind)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}

/// The user and system time of this process, in microseconds.
pub(crate) fn own_cpu_us() -> anyhow::Result<f64> {
    crate::child::cpu_us(std::process::id())
}

/// Puts the generator on its core, where the machine has one for it.
pub(crate) fn take_place() -> anyhow::Result<()> {
    if machine::cores() > machine::GENERATOR_CORE {
        machine::pin(machine::GENERATOR_CORE)?;
    }
    machine::raise_descriptors().map(drop)
}
