//! Members' requests for kept models, over links of their own (`WIRE-11`). Nothing of them reaches the coordinator of
//! rounds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cloister_params::id::{BlockId, Digest, PartyId};
use cloister_protocol::coordinator::check_missing;
use cloister_protocol::model::Model;
use cloister_transport::{FrameReceiver, FrameSender, Link};
use cloister_wire::frame::{CHUNK_BYTES, Frame};
use cloister_wire::message::{Message, MissingParts, ModelPart, ModelTable};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::links::CLOSE_WITHIN;
use crate::models::{KeptModel, kept_models};

/// How many parties are served at a time. Each takes the memory of one part.
const MOST_PULLS: usize = 16;
/// How long a party may take to ask for something, and to take one part. Slower ones are cut, and go on later where they
/// were: otherwise few of them could keep every place for ever.
/// Four mebibytes in this time are 14 kB a second.
pub(crate) const EACH_WITHIN: Duration = Duration::from_mins(5);
/// How many digests of kept models a refusal names.
const MOST_NAMED: usize = 8;

/// The parties that are served, and what they are served from.
#[derive(Debug)]
pub(crate) struct Pulls {
    tasks: JoinSet<PartyId>,
    open: BTreeSet<PartyId>,
    models: Arc<ModelReader>,
    each_within: Duration,
}

impl Pulls {
    /// Nobody is served yet. `each_within` is how long a party may take to ask for something, and to take one part.
    pub(crate) fn new(folder: PathBuf, each_within: Duration) -> Self {
        let models = Arc::new(ModelReader { folder, tables: Mutex::default() });
        Self { tasks: JoinSet::new(), open: BTreeSet::new(), models, each_within }
    }

    fn forget_ended(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            // A task that panicked keeps its party out until a restart.
            ended.into_iter().for_each(|party| {
                self.open.remove(&party);
            });
        }
    }

    /// Serves a party, or tells it why not.
    pub(crate) fn serve(&mut self, link: Link, is_member: bool) {
        self.forget_ended();
        let party = link.peer();
        let refusal = if !is_member {
            Some("this party is no member of the consortium, and models go to members alone")
        } else if self.open.contains(&party) {
            Some("this party has another request for models open; end it, or wait until it has ended")
        } else if self.open.len() >= MOST_PULLS {
            Some("too many members ask for models at this time; try again in some minutes")
        } else {
            None
        };
        match refusal {
            Some(reason) => link.handle().abort(reason),
            None => {
                self.open.insert(party);
                self.tasks.spawn(answer(link, self.models.clone(), self.each_within));
            }
        }
    }
}

/// Answers one party's requests, one after the other, until it closes the link. Returns the party.
async fn answer(link: Link, models: Arc<ModelReader>, each_within: Duration) -> PartyId {
    let (party, handle) = (link.peer(), link.handle());
    let (sender, mut receiver) = link.split();
    let mut sender = PartSender { sender, each_within };
    while let Some(request) = next_request(&mut receiver, each_within).await {
        let answered = match request {
            Ok((model, missing)) => send_model(&mut sender, &models, model, missing).await,
            Err(reason) => Err(reason),
        };
        if let Err(reason) = answered {
            handle.abort(&reason);
            return party;
        }
    }
    let _ = timeout(CLOSE_WITHIN, sender.sender.close("the request was answered")).await;
    party
}

/// The next request; `None` if the party has closed the link or is silent.
async fn next_request(
    receiver: &mut FrameReceiver,
    each_within: Duration,
) -> Option<Result<(Digest, Vec<MissingParts>), String>> {
    let bytes = timeout(each_within, receiver.recv()).await.ok()?.ok()??;
    Some(match Frame::decode(&bytes) {
        Ok(Frame::Message(Message::ModelRequest { model, missing })) => Ok((model, missing)),
        Ok(_) => Err("expected a request for a model, and another frame came".to_owned()),
        Err(error) => Err(error.to_string()),
    })
}

/// Sends a model's table and the parts that are asked for.
async fn send_model(
    sender: &mut PartSender,
    models: &Arc<ModelReader>,
    model: Digest,
    missing: Vec<MissingParts>,
) -> Result<(), String> {
    let reader = models.clone();
    // Reading a model that was kept by an earlier run takes seconds.
    let opened = tokio::task::spawn_blocking(move || reader.open(model)).await;
    let opened = opened.map_err(|_| "the coordinator could not read the model; see its log".to_owned())??;
    check_missing(&opened.table, &missing).map_err(|error| error.to_string())?;
    sender.send(Message::ModelTable(opened.table.clone())).await?;
    for MissingParts { block, first } in missing {
        for index in first.. {
            let Some((place, length)) = opened.place(block, index) else { break };
            let file = opened.file.clone();
            let read = tokio::task::spawn_blocking(move || {
                let mut bytes = vec![0; length];
                file.read_exact_at(&mut bytes, place).map(|()| bytes)
            });
            let bytes = read.await.ok().and_then(Result::ok).ok_or_else(|| unreadable(model))?;
            sender.send(Message::ModelPart(ModelPart { block, index, bytes })).await?;
        }
    }
    Ok(())
}

/// Sends frames to a party that must take each in time.
struct PartSender {
    sender: FrameSender,
    each_within: Duration,
}

impl PartSender {
    async fn send(&mut self, message: Message) -> Result<(), String> {
        let frame = Frame::Message(message).encode();
        let (within, bytes) = (self.each_within, frame.len());
        match timeout(within, self.sender.send(&frame)).await {
            Ok(sent) => sent.map_err(|error| error.to_string()),
            Err(_) => Err(format!(
                "this party did not take {bytes} bytes within {} seconds; connect again to go on",
                within.as_secs()
            )),
        }
    }
}

/// Reads kept models, and remembers their tables: to make one, all of the model is hashed.
#[derive(Debug)]
struct ModelReader {
    folder: PathBuf,
    tables: Mutex<BTreeMap<Digest, ModelTable>>,
}

/// A kept model that is being sent. If its file is erased meanwhile, its bytes stay until the end.
#[derive(Debug)]
struct OpenModel {
    table: ModelTable,
    file: Arc<File>,
    /// Where each block's parameters begin.
    starts: Vec<u64>,
}

impl ModelReader {
    fn open(&self, model: Digest) -> Result<OpenModel, String> {
        let kept = kept_models(&self.folder).map_err(|_| unreadable(model))?;
        let Some(found) = kept.iter().rev().find(|kept| kept.digest == model) else {
            let names: Vec<String> =
                kept.iter().rev().take(MOST_NAMED).map(|kept| kept.digest.to_string()).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(format!(
                "the coordinator does not keep the model {model}; it keeps, newest first: {names}"
            ));
        };
        let file = File::open(&found.path).map_err(|_| unreadable(model))?;
        let table = self.table(found, &kept)?;
        // As a file of parameters has them: each block's length, and then its numbers.
        let mut starts = Vec::new();
        let mut end = 0;
        for block in &table.blocks {
            starts.push(end + size_of::<u64>() as u64);
            end += size_of::<u64>() as u64 + block.length * size_of::<f32>() as u64;
        }
        Ok(OpenModel { table, file: Arc::new(file), starts })
    }

    /// The table of a kept model, which is read if its table is not known. One at a time, because that takes the memory of
    /// the model.
    fn table(&self, found: &KeptModel, kept: &[KeptModel]) -> Result<ModelTable, String> {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = tables.get(&found.digest) {
            return Ok(table.clone());
        }
        let bytes = fs::read(&found.path).map_err(|_| unreadable(found.digest))?;
        let read = Model::from_bytes(&bytes).map(|model| model.table());
        let table = read.filter(|table| table.model == found.digest).ok_or_else(|| {
            format!(
                "the coordinator's file of the model {} is damaged; ask its operator to erase it",
                found.digest
            )
        })?;
        tables.retain(|digest, _| kept.iter().any(|kept| kept.digest == *digest));
        tables.insert(found.digest, table.clone());
        Ok(table)
    }
}

impl OpenModel {
    /// Where a part is in the file, and its length; none after a block's last.
    fn place(&self, block: BlockId, index: u32) -> Option<(u64, usize)> {
        let at = block.0 as usize;
        let (start, length) =
            (self.starts.get(at)?, self.table.blocks.get(at)?.length * size_of::<f32>() as u64);
        let before = u64::from(index) * CHUNK_BYTES as u64;
        let rest = length.checked_sub(before).filter(|rest| *rest > 0)?;
        Some((start + before, usize::try_from(rest).map_or(CHUNK_BYTES, |rest| rest.min(CHUNK_BYTES))))
    }
}

fn unreadable(model: Digest) -> String {
    format!(
        "the coordinator cannot read its file of the model {model}; ask its operator to look at its data folder"
    )
}

#[cfg(test)]
mod tests;
