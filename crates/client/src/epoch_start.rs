//! The newest ending that a party has checked, in its data folder: a consortium whose coordinator lost its folder continues
//! from it (`CONS-06`, `ROUND-37`).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use cloister_crypto::consortium::Epoch;
use cloister_identity::{epoch_start_path, keep_epoch_start};
use cloister_params::consortium::{EpochStart, LastEnding, PublicBytes};
use cloister_params::id::{Digest, Round};
use cloister_protocol::ending::{ChainPosition, KnownEnding};
use cloister_wire::frame::Frame;
use cloister_wire::message::{Ending, Message};

/// What the next edition would continue from, as this party knows it.
#[derive(Debug)]
pub(crate) struct EpochStartFile {
    folder: PathBuf,
    /// The round of the ending that the file names; 0 before the first.
    round: Round,
}

impl EpochStartFile {
    /// Begins or continues the file of an epoch. `model` is what the party starts from if the consortium file names none.
    pub(crate) fn open(folder: &Path, epoch: &Epoch, model: Digest) -> io::Result<Self> {
        let present = PublicBytes(epoch.digest().0);
        // A file that cannot be read is written again: it is for people, and what must be remembered is in the openings.
        let known = fs::read_to_string(epoch_start_path(folder)).ok();
        let known =
            known.and_then(|text| EpochStart::parse(&text).ok()).filter(|start| start.epoch == present);
        let round = known.and_then(|start| start.ending).map_or(Round(0), |ending| ending.round);
        if known.is_none() {
            let model = PublicBytes(ChainPosition::genesis(epoch, model).model.0);
            let start = EpochStart { epoch: present, model, replaced: false, back_to: None, ending: None };
            keep_epoch_start(folder, &start, None)?;
        }
        Ok(Self { folder: folder.to_path_buf(), round })
    }

    /// Writes the ending that a frame brings, if its certificate holds in the epoch and it is later than the last one.
    pub(crate) fn take(&mut self, epoch: &Epoch, frame: &Frame) -> io::Result<()> {
        let Some(ending) = ending(frame) else { return Ok(()) };
        // The party's roles report a certificate that does not hold.
        let Ok(known) = KnownEnding::check(ending, epoch) else { return Ok(()) };
        // An old certificate is valid for ever.
        if known.round <= self.round {
            return Ok(());
        }
        let last = LastEnding { round: known.round, digest: PublicBytes(known.digest.0) };
        let (epoch, model) = (PublicBytes(epoch.digest().0), PublicBytes(known.model.0));
        let start = EpochStart { epoch, model, replaced: false, back_to: None, ending: Some(last) };
        keep_epoch_start(&self.folder, &start, Some(ending))?;
        self.round = known.round;
        Ok(())
    }
}

/// The ending that a frame brings.
fn ending(frame: &Frame) -> Option<&Ending> {
    match frame {
        Frame::Message(Message::Ended(ending) | Message::Plan { previous: Some(ending), .. }) => Some(ending),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use cloister_cluster::Cluster;
    use cloister_cluster::consortium::{consortium, next_epoch};
    use cloister_cluster::plan::template;
    use cloister_protocol::openings::{OpeningHistory, StartRefusal};
    use cloister_wire::opening::OpeningRecord;

    use super::*;

    fn ended(ending: &Ending) -> Frame {
        Frame::Message(Message::Ended(ending.clone()))
    }

    fn written(folder: &Path) -> EpochStart {
        let text = fs::read_to_string(epoch_start_path(folder)).expect("it was written");
        EpochStart::parse(&text).expect("a table")
    }

    /// CONS-06, ROUND-37: an edition from an older copy of the coordinator's folder is refused by whoever knows more, and
    /// one from a party's folder is not.
    #[test]
    fn a_consortium_whose_coordinator_has_an_older_copy_continues_from_a_party_s_folder() {
        let folder = std::env::temp_dir().join(format!("cloister-epoch-start-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        cloister_storage::create_folder(&folder).expect("a temporary folder can be made");
        let first = consortium(&[1; 5]);
        let mut cluster = Cluster::new(consortium(&[1; 5]), template(2, 4, 1), 3);
        let reports = [1, 2].map(|_| cluster.run_round().expect("it ends"));
        let mut file = EpochStartFile::open(&folder, &first.epoch, Digest([7; 32])).expect("a new file");
        assert_eq!((written(&folder).model, written(&folder).ending), (PublicBytes([7; 32]), None));
        file.take(&first.epoch, &ended(&reports[0].ending)).expect("writable");
        let older_copy = written(&folder);
        file.take(&first.epoch, &ended(&reports[1].ending)).expect("writable");
        let newest = written(&folder);
        assert_eq!(newest.model.0, reports[1].model.digest().0);
        // What comes again, also after a restart, changes nothing.
        let mut file = EpochStartFile::open(&folder, &first.epoch, Digest([7; 32])).expect("it is there");
        file.take(&first.epoch, &ended(&reports[0].ending)).expect("writable");
        assert_eq!(written(&folder), newest);
        // Whoever signs the edition checks the start by the certificate beside it.
        let bytes = fs::read(epoch_start_path(&folder).with_extension("ending")).expect("it was written");
        let ending: Ending = cloister_wire::codec::decode(&bytes).expect("an ending");
        let known = KnownEnding::check(&ending, &first.epoch).expect("a quorum signed it");
        assert_eq!(
            newest.ending,
            Some(LastEnding { round: known.round, digest: PublicBytes(known.digest.0) })
        );
        // Another party, which knows how round 2 ended.
        let record = OpeningRecord::Ended {
            epoch: first.epoch.digest(),
            round: known.round,
            ending: known.digest,
            model: known.model,
            aborted: false,
            dropped: vec![],
        };
        let begin = |start: EpochStart| {
            let next = next_epoch(&first, Digest(start.model.0), start.ending);
            OpeningHistory::new([record.clone()]).begin(&next.epoch)
        };
        assert!(matches!(begin(older_copy), Err(StartRefusal::EarlierEnding { .. })));
        assert!(begin(newest).is_ok());
        fs::remove_dir_all(folder).expect("it was made");
    }

    /// CONS-06
    #[test]
    fn a_certificate_of_another_epoch_is_not_written() {
        let folder = std::env::temp_dir().join(format!("cloister-epoch-start-{}-other", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        cloister_storage::create_folder(&folder).expect("a temporary folder can be made");
        let first = consortium(&[1; 5]);
        let report = Cluster::new(consortium(&[1; 5]), template(2, 4, 1), 3).run_round().expect("it ends");
        let second = next_epoch(&first, report.model.digest(), None);
        let mut file = EpochStartFile::open(&folder, &second.epoch, Digest([7; 32])).expect("a new file");
        let begun = written(&folder);
        assert_eq!(begun.model.0, report.model.digest().0, "the consortium file names it");
        file.take(&second.epoch, &ended(&report.ending)).expect("nothing is written");
        assert_eq!(written(&folder), begun);
        fs::remove_dir_all(folder).expect("it was made");
    }
}
