//! Pulling a model by its digest, for people (`WIRE-11`). It goes on with what an earlier pull left.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cloister_params::id::{BlockId, Digest, PartyId};
use cloister_protocol::arriving::{ArrivingChange, ArrivingModel, PartOutcome, part_count};
use cloister_transport::{
    ConnectError, Fingerprint, FrameReceiver, FrameSender, HostPort, Identity, LinkError, TransportSettings,
    connect_for_models,
};
use cloister_wire::frame::Frame;
use cloister_wire::message::{Message, MissingParts, ModelPart, ModelTable};
use thiserror::Error;

use crate::arriving_file::{ArrivingFile, ArrivingFileError};

/// How long to wait after a lost link.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How many links in a row may bring nothing.
const MOST_FRUITLESS: u32 = 5;

/// What to pull, and from whom.
#[derive(Debug)]
pub struct ModelPull {
    /// This party's TLS certificate and key.
    pub identity: Identity,
    /// Its number in the consortium file.
    pub party: PartyId,
    /// Where the coordinator listens.
    pub coordinator: HostPort,
    /// The coordinator's certificate, which the consortium file pins.
    pub pinned: Fingerprint,
    /// Limits of the link.
    pub transport: TransportSettings,
    /// The model's digest.
    pub model: Digest,
    /// The file to write it to, in the format of initial parameters. What is here of the model is beside it until then.
    pub out: PathBuf,
}

/// How a pull goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PullEvent {
    /// So much of the model is here.
    Progress {
        /// Bytes of parameters that are here.
        here: u64,
        /// Bytes of parameters of the whole model.
        total: u64,
    },
    /// The link was lost for this reason, and the pull goes on over another.
    Lost(String),
    /// A block has wrong bytes, which the coordinator sent or the disk lost. It is asked for again.
    WrongBlock(BlockId),
}

/// Why a model was not pulled.
#[derive(Debug, Error)]
pub enum PullError {
    /// The coordinator cannot be reached, or rejects this party.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The coordinator does not send the model.
    #[error("the coordinator does not send the model: {0}")]
    Refused(String),
    /// Links break before anything comes.
    #[error("{MOST_FRUITLESS} links in a row ended before a part of the model came, the last one so: {0}")]
    Fruitless(LinkError),
    /// The coordinator sent something that is no part of this model.
    #[error(
        "the coordinator sent something else than the model {model}: {why}; tell its operator, and ask a hospital that has the \
         model for it"
    )]
    Wrong {
        /// The model that was asked for.
        model: Digest,
        /// What came.
        why: String,
    },
    /// There is not enough space for what the coordinator says that the model takes.
    #[error(
        "the model takes {needed} bytes of parameters, as the coordinator says, and {free} are free at {}; free some space, or \
         give another place", path.display()
    )]
    Space {
        /// Bytes of the model's parameters, twice: the parts and the file.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// The file that was to be written.
        path: PathBuf,
    },
    /// The parts cannot be read or written.
    #[error(transparent)]
    Arriving(#[from] ArrivingFileError),
    /// The file cannot be written.
    #[error("cannot write {}: {source}; check the folder's free space and permissions", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The file with what is here of a model that is pulled to a path.
pub fn arriving_path(out: &Path) -> PathBuf {
    out.with_added_extension("arriving")
}

/// Pulls a model, and writes its file when all of it is here. A pull that was ended goes on when it is called again.
///
/// # Errors
/// See [`PullError`].
pub async fn pull_model(
    pull: &ModelPull,
    events: &mut (dyn FnMut(PullEvent) + Send),
) -> Result<(), PullError> {
    let (file, arrived) = ArrivingFile::open(&arriving_path(&pull.out))?;
    let arriving = arrived.filter(|arrived| arrived.digest() == pull.model);
    let mut puller = Puller { pull, file, arriving, events };
    let mut fruitless = 0;
    let model = loop {
        if let Some(model) = puller.arriving.as_ref().and_then(ArrivingModel::model) {
            break model;
        }
        let before = puller.bytes_here();
        let error = match puller.serve().await {
            Ok(()) => continue,
            Err(Stop::Lost(error)) => error,
            Err(Stop::Failed(error)) => return Err(error),
        };
        fruitless = if puller.bytes_here() == before { fruitless + 1 } else { 0 };
        if fruitless == MOST_FRUITLESS {
            return Err(PullError::Fruitless(error));
        }
        (puller.events)(PullEvent::Lost(error.to_string()));
        tokio::time::sleep(RETRY_AFTER).await;
    };
    cloister_storage::replace(&pull.out, |file| file.write_all(&model.to_bytes()))
        .map_err(|source| PullError::Write { path: pull.out.clone(), source })?;
    Ok(puller.file.remove()?)
}

/// Why a link is over.
enum Stop {
    Lost(LinkError),
    Failed(PullError),
}

impl<E: Into<PullError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

struct Puller<'a> {
    pull: &'a ModelPull,
    file: ArrivingFile,
    arriving: Option<ArrivingModel>,
    events: &'a mut (dyn FnMut(PullEvent) + Send),
}

impl Puller<'_> {
    fn bytes_here(&self) -> u64 {
        self.arriving.as_ref().map_or(0, ArrivingModel::bytes_here)
    }

    /// Asks over one link until the model is here.
    async fn serve(&mut self) -> Result<(), Stop> {
        let ModelPull { identity, party, coordinator, pinned, transport, .. } = self.pull;
        let link = connect_for_models(coordinator.clone(), identity, *pinned, *party, transport).await?;
        let (mut sender, mut receiver) = link.split();
        loop {
            let missing = self.arriving.as_ref().map(ArrivingModel::missing);
            if missing.as_ref().is_some_and(Vec::is_empty) {
                let _ = sender.close("the model is here").await;
                return Ok(());
            }
            self.ask(&mut sender, missing.clone().unwrap_or_default(), &mut receiver).await?;
            // A block of which damaged parts were on disk is missing again from its first part on. That is no fault of the
            // coordinator's, and is asked for once more.
            let after = self.arriving.as_ref().map(ArrivingModel::missing);
            if missing.is_some() && missing == after {
                return Err(self.wrong("no block of its answer has the digest that it must have").into());
            }
        }
    }

    /// Asks for parts, and takes the answer: the table, and the parts.
    async fn ask(
        &mut self,
        sender: &mut FrameSender,
        missing: Vec<MissingParts>,
        receiver: &mut FrameReceiver,
    ) -> Result<(), Stop> {
        let request = Message::ModelRequest { model: self.pull.model, missing: missing.clone() };
        let sent = sender.send(&Frame::Message(request).encode()).await;
        // If the coordinator has ended the link, the reason comes where its answer would.
        let table = match next(receiver).await? {
            Message::ModelTable(table) => table,
            _ => return Err(self.wrong("a message that is not the table of a model").into()),
        };
        sent.map_err(Stop::Lost)?;
        self.take_table(table)?;
        for MissingParts { block, first } in missing {
            for index in first..self.part_count(block) {
                match next(receiver).await? {
                    Message::ModelPart(part) if (part.block, part.index) == (block, index) => {
                        self.take(&part)?
                    }
                    _ => return Err(self.wrong("a message that is not the next part").into()),
                }
            }
        }
        Ok(())
    }

    fn take_table(&mut self, table: ModelTable) -> Result<(), PullError> {
        if table.model != self.pull.model {
            return Err(self.wrong("the table of another model"));
        }
        if let Some(arriving) = &self.arriving {
            if *arriving.table() == table {
                return Ok(());
            }
            // A table's digest does not cover lengths, so either table may be the wrong one.
            self.file.remove()?;
            return Err(
                self.wrong("a table with other lengths than before; what was here is removed: pull again")
            );
        }
        self.check_space(&table)?;
        let arriving = ArrivingModel::new(table.clone()).map_err(|error| self.wrong(&error.to_string()))?;
        self.file.repeat(&ArrivingChange::Began(table))?;
        self.arriving = Some(arriving);
        Ok(())
    }

    /// Lengths are what the coordinator says. A false one costs no more than what is free, and is found at the block's end.
    fn check_space(&self, table: &ModelTable) -> Result<(), PullError> {
        let bytes = total_bytes(table);
        let folder = self.pull.out.parent().filter(|folder| !folder.as_os_str().is_empty());
        let needed = bytes.saturating_mul(2);
        match cloister_storage::free_space(folder.unwrap_or(Path::new("."))) {
            Ok(free) if free < needed => Err(PullError::Space { needed, free, path: self.pull.out.clone() }),
            // A system that does not say how much is free says so when it is full.
            _ => Ok(()),
        }
    }

    fn take(&mut self, part: &ModelPart) -> Result<(), PullError> {
        let Some(arriving) = &mut self.arriving else { return Ok(()) };
        let outcome = arriving.take(part);
        match outcome.map_err(|error| self.wrong(&error.to_string()))? {
            PartOutcome::Here => {}
            PartOutcome::Taken => self.file.repeat(&ArrivingChange::Part(part.clone()))?,
            PartOutcome::WrongBlock => {
                self.file.repeat(&ArrivingChange::WrongBlock(part.block))?;
                (self.events)(PullEvent::WrongBlock(part.block));
            }
        }
        let total = self.arriving.as_ref().map_or(0, |arriving| total_bytes(arriving.table()));
        let here = self.bytes_here();
        (self.events)(PullEvent::Progress { here, total });
        Ok(())
    }

    fn part_count(&self, block: BlockId) -> u32 {
        let table = self.arriving.as_ref().map(ArrivingModel::table);
        table.and_then(|table| table.blocks.get(block.0 as usize)).map_or(0, part_count)
    }

    fn wrong(&self, why: &str) -> PullError {
        PullError::Wrong { model: self.pull.model, why: why.to_owned() }
    }
}

fn total_bytes(table: &ModelTable) -> u64 {
    let bytes = table.blocks.iter().map(|block| block.length.saturating_mul(size_of::<f32>() as u64));
    bytes.fold(0, u64::saturating_add)
}

/// The next message of the coordinator.
async fn next(receiver: &mut FrameReceiver) -> Result<Message, Stop> {
    match receiver.recv().await {
        Ok(Some(bytes)) => match Frame::decode(&bytes) {
            Ok(Frame::Message(message)) => Ok(message),
            Ok(Frame::Chunk(_)) => Err(PullError::Refused("it sent a chunk of a vector".to_owned()).into()),
            Err(error) => Err(PullError::Refused(error.to_string()).into()),
        },
        Ok(None) => {
            let reason = receiver.closing_reason().unwrap_or("it closed the link").to_owned();
            Err(PullError::Refused(reason).into())
        }
        Err(LinkError::ClosedByPeer { reason, .. }) => Err(PullError::Refused(reason).into()),
        Err(error) => Err(Stop::Lost(error)),
    }
}

#[cfg(test)]
mod tests;
