//! Where the chain of an audit log is taken up again after a start.

use super::chain::{Hash, Head, MacKey, Sealed, Sealer, Why, from_hex, hex, sha256};
use super::output::{LogFile, kept_beside};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// Most of a log that is read at a start: a checkpoint must lie within it.
const TAIL: u64 = 64 << 20;

/// What is kept beside a log: how far it had come at its last checkpoint.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Kept {
    chain: String,
    sequence: u64,
    code: String,
    digest: String,
    /// The checkpoint was that of a stop: nothing was written after it.
    closed: bool,
}

/// The text to be kept after a checkpoint, with a code over it.
pub(super) fn kept(head: &Head, why: Why, key: &MacKey) -> String {
    let kept = Kept {
        chain: head.chain.clone(),
        sequence: head.sequence,
        code: hex(&head.code),
        digest: hex(&head.base),
        closed: why == Why::Stop,
    };
    // Text and numbers always make a line.
    let text = serde_json::to_string(&kept).unwrap_or_default();
    let code = hex(&key.code(&KEPT, text.as_bytes()));
    format!("{text}\n{code}\n")
}

/// In the place of the code of a line before: no line has it.
const KEPT: Hash = [0xff; 32];

/// The number that a log had reached at its last checkpoint, by what is kept beside it; `None` where nothing
/// is, or nothing that `keys` have sealed.
#[must_use]
pub fn reached(log: &Path, keys: &[MacKey]) -> Option<u64> {
    let text = kept_beside(log)?;
    keys.iter().find_map(|key| read_kept(&text, key)).map(|kept| kept.sequence)
}

fn read_kept(text: &str, key: &MacKey) -> Option<Kept> {
    let (text, code) = text.strip_suffix('\n')?.split_once('\n')?;
    if from_hex(code)? != key.code(&KEPT, text.as_bytes()) {
        return None;
    }
    serde_json::from_str(text).ok()
}

/// Where a chain goes on.
pub(super) struct Resumed {
    pub(super) head: Head,
    /// The end of the log, where it does not end with a line.
    pub(super) torn: Option<Vec<u8>>,
    /// The number that the log had reached by what was kept, where the log itself has not.
    pub(super) expected: Option<u64>,
}

impl Resumed {
    /// A chain that begins.
    pub(super) fn new(chain: String) -> Self {
        Self { head: Head::new(chain), torn: None, expected: None }
    }

    /// No chain: all that counts is whether the last byte ends a line.
    pub(super) fn unsealed(last: &[u8]) -> Self {
        let torn = last.first().is_some_and(|byte| *byte != b'\n').then(Vec::new);
        Self { torn, ..Self::new(String::new()) }
    }
}

/// Finds where the chain of `log` goes on. A log whose end our keys have not sealed is set aside, and a new
/// chain begun: the next checkpoint signs what is taken up here.
pub(super) fn resume(
    log: &mut LogFile,
    sealer: &Sealer,
    new_chain: String,
    now: SystemTime,
) -> io::Result<Resumed> {
    let kept = log.kept();
    let readable = kept.as_deref().and_then(|text| read_kept(text, &sealer.mac));
    if kept.is_some() && readable.is_none() {
        tracing::warn!(
            "what was kept of the audit log's end is of another key, or altered; not used"
        );
    }
    let tail = log.tail(TAIL)?;
    let end = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |place| place + 1);
    let (whole, torn) = tail.split_at_checked(end).unwrap_or_default();
    if tail.is_empty() {
        return Ok(begun_anew(readable, new_chain));
    }
    let Some(head) = last(whole, sealer) else {
        let aside = log.set_aside(now)?;
        tracing::warn!(
            aside = %aside.display(),
            "the audit file did not end as a sealed log and was set aside; a new chain begins"
        );
        let expected = readable.map(|kept| kept.sequence);
        return Ok(Resumed { expected, ..Resumed::new(new_chain) });
    };
    let ahead = |kept: &Kept| kept.chain != head.chain || kept.sequence > head.sequence;
    let expected = readable.filter(ahead).map(|kept| kept.sequence);
    if let Some(expected) = expected {
        tracing::error!(
            expected,
            found = head.sequence,
            "records are missing at the end of the audit file: it was cut, or replaced"
        );
    }
    let torn = (!torn.is_empty()).then(|| torn.to_vec());
    Ok(Resumed { head, torn, expected })
}

/// There is no log: it was rotated while the program stood still, or there never was one.
fn begun_anew(kept: Option<Kept>, new_chain: String) -> Resumed {
    let after = |kept: &Kept| {
        let (code, digest) = (from_hex(&kept.code)?, from_hex(&kept.digest)?);
        kept.closed.then(|| Head::after(kept.chain.clone(), kept.sequence, code, digest))
    };
    match kept.as_ref().and_then(after) {
        Some(head) => Resumed { head, torn: None, expected: None },
        None => Resumed { expected: kept.map(|kept| kept.sequence), ..Resumed::new(new_chain) },
    }
}

/// The end of the chain in whole lines, from the last checkpoint on; `None` unless all of it is ours.
fn last(whole: &[u8], sealer: &Sealer) -> Option<Head> {
    let lines: Vec<&[u8]> = whole.strip_suffix(b"\n")?.split(|byte| *byte == b'\n').collect();
    let mut after = 0;
    for (place, line) in lines.iter().enumerate().rev() {
        let from = whole.len() - after;
        after += line.len() + 1;
        let Some(checkpoint) = Sealed::read(line).filter(Sealed::is_checkpoint) else { continue };
        let since = lines.get(place + 1..)?;
        if !is_ours(&checkpoint, sealer, since.is_empty()) {
            return None;
        }
        let (sequence, code) = followed(&checkpoint, since, &sealer.mac)?;
        let base = from_hex(checkpoint.seal.digest.as_deref()?)?;
        let mut head = Head::after(checkpoint.seal.chain?, sequence, code, base);
        head.absorb(whole.get(from..)?);
        return Some(head);
    }
    None
}

/// Whether a checkpoint is ours, by each of its keys that we have. After a change of keys the other one is
/// enough; without the key of the codes only where no line follows, which nothing could check.
fn is_ours(checkpoint: &Sealed<'_>, keys: &Sealer, is_end: bool) -> bool {
    let seal = &checkpoint.seal;
    let (Some(before), Some(signer), Some(signature), Some(text)) =
        (seal.before.as_deref().and_then(from_hex), &seal.signer, &seal.sig, checkpoint.signed)
    else {
        return false;
    };
    let of_our_mac = seal.key == keys.mac.id();
    let of_our_signer = signer == keys.signer.id();
    (of_our_mac || of_our_signer && is_end)
        && (!of_our_mac || keys.mac.code(&before, checkpoint.coded) == checkpoint.code)
        && (!of_our_signer || keys.signer.signed(text, signature))
}

/// Number and code of the last line; `None` unless each line since the checkpoint has its code, or was torn
/// by what the line after it tells.
fn followed(checkpoint: &Sealed<'_>, since: &[&[u8]], key: &MacKey) -> Option<(u64, Hash)> {
    let (mut sequence, mut code) = (checkpoint.seal.seq, checkpoint.code);
    let mut torn: Option<&[u8]> = None;
    for line in since {
        let fits = |sealed: &Sealed<'_>| {
            Some(sealed.seal.seq) == sequence.checked_add(1)
                && key.code(&code, sealed.coded) == sealed.code
        };
        let Some(sealed) = Sealed::read(line).filter(fits) else {
            if torn.replace(line).is_some() {
                return None;
            }
            continue;
        };
        let tells = sealed.seal.event.as_deref() == Some("torn");
        let explained = match torn.take() {
            None => !tells,
            Some(part) => {
                tells
                    && sealed.seal.bytes == Some(part.len())
                    && sealed.seal.digest.as_deref() == Some(&hex(&sha256(&[part])))
            }
        };
        if !explained {
            return None;
        }
        (sequence, code) = (sealed.seal.seq, sealed.code);
    }
    torn.is_none().then_some((sequence, code))
}
