//! Facts as bytes. Names are written out, so that a snapshot outlives every numbering in memory; a list
//! that repeats (rights of an agent's clients) is written once.
//!
//! Whatever does not read back as exactly the types it was written from is no record.

use crate::domain::delegation::{PackageId, PartyRights};
use crate::domain::party::{CheckDigits, OrgNumber, Party};
use crate::domain::resource::{ActionId, Question, ResourceId, Right};
use crate::domain::system_user::SystemUserId;
use crate::sync::ports::{
    AccessList, AccessLists, FeedPosition, PublishedResource, ReadFor, Saved, SavedLists,
    SavedResource, SavedUser, StorableQuestion,
};
use std::collections::{BTreeSet, HashMap};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What a record is about, in the order in which records are loaded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    LastSaved,
    Feed,
    Catalogue,
    AccessLists,
    Resource,
    User,
    Confirmation,
    SwitchedOff,
}

impl Kind {
    pub(super) fn number(self) -> u8 {
        match self {
            Self::LastSaved => 1,
            Self::Feed => 2,
            Self::Catalogue => 3,
            Self::AccessLists => 4,
            Self::Resource => 5,
            Self::User => 6,
            Self::Confirmation => 7,
            Self::SwitchedOff => 8,
        }
    }

    fn of(number: u8) -> Option<Self> {
        let all = [
            Self::LastSaved,
            Self::Feed,
            Self::Catalogue,
            Self::AccessLists,
            Self::Resource,
            Self::User,
            Self::Confirmation,
            Self::SwitchedOff,
        ];
        all.into_iter().find(|kind| kind.number() == number)
    }
}

/// A record to write, or to take away.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) kind: Kind,
    /// What tells it from others of its kind.
    pub(super) subject: Vec<u8>,
    /// `None`: it is gone.
    pub(super) content: Option<Vec<u8>>,
}

/// What stands before the packages that a system user was read for.
const READ_FOR: u8 = 1;
/// Bytes of a time, and of one with the packages after it.
const TIME: usize = 8;
const TIME_AND_READ_FOR: usize = 17;

/// More than four billion of something.
#[derive(Clone, Copy, Debug)]
pub(super) struct TooLong;

/// The record that says this.
pub(super) fn encode(saved: &Saved) -> Result<Record, TooLong> {
    let mut to = Encoder::default();
    let (kind, subject, kept) = match saved {
        Saved::User(user) => {
            to.user(user)?;
            (Kind::User, user.id.as_bytes().to_vec(), true)
        }
        Saved::ForgetUser(id) => (Kind::User, id.as_bytes().to_vec(), false),
        Saved::Resource(resource) => {
            to.resource(resource)?;
            (Kind::Resource, resource.id.as_str().into(), true)
        }
        Saved::ResourceGone(id) => (Kind::Resource, id.as_str().into(), false),
        Saved::Catalogue(packages) => {
            to.catalogue(packages)?;
            (Kind::Catalogue, Vec::new(), true)
        }
        Saved::AccessLists(lists) => {
            to.access_lists(lists)?;
            (Kind::AccessLists, lists.owner.as_str().into(), true)
        }
        Saved::Confirmation(question, asked) => {
            to.question(question.question())?;
            let subject = to.0.clone();
            to.time(*asked);
            (Kind::Confirmation, subject, true)
        }
        Saved::Unconfirm(question) => {
            to.question(question.question())?;
            (Kind::Confirmation, to.0.clone(), false)
        }
        // No record of its own: there is none without a question.
        Saved::UnconfirmAll => (Kind::Confirmation, Vec::new(), false),
        Saved::SwitchedOff(question) => {
            to.question(question.question())?;
            (Kind::SwitchedOff, question.question().resource().as_str().into(), true)
        }
        Saved::SwitchedOn(resource) => (Kind::SwitchedOff, resource.as_str().into(), false),
        Saved::Feed(position) => {
            to.text(&position.0)?;
            (Kind::Feed, Vec::new(), true)
        }
        Saved::LastSaved(at) => {
            to.time(*at);
            (Kind::LastSaved, Vec::new(), true)
        }
    };
    Ok(Record { kind, subject, content: kept.then_some(to.0) })
}

/// What a record says; `None` when it says nothing of this format.
pub(super) fn decode(kind: u8, content: &[u8]) -> Option<Saved> {
    let mut from = Decoder(content);
    let saved = match Kind::of(kind)? {
        Kind::LastSaved => Saved::LastSaved(from.time()?),
        Kind::Feed => Saved::Feed(FeedPosition(from.text()?.to_owned())),
        Kind::Catalogue => Saved::Catalogue(from.catalogue()?),
        Kind::AccessLists => Saved::AccessLists(from.access_lists()?),
        Kind::Resource => Saved::Resource(Box::new(from.resource()?)),
        Kind::User => Saved::User(Box::new(from.user()?)),
        Kind::Confirmation => Saved::Confirmation(from.question()?, from.time()?),
        Kind::SwitchedOff => Saved::SwitchedOff(from.question()?),
    };
    from.0.is_empty().then_some(saved)
}

/// Bytes on their way out. Numbers are big-endian, lists and texts carry their length in four bytes.
#[derive(Default)]
struct Encoder(Vec<u8>);

impl Encoder {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn number(&mut self, number: u32) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn length(&mut self, length: usize) -> Result<(), TooLong> {
        self.number(u32::try_from(length).map_err(|_| TooLong)?);
        Ok(())
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.length(bytes.len())?;
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn text(&mut self, text: &str) -> Result<(), TooLong> {
        self.bytes(text.as_bytes())
    }

    fn id(&mut self, id: SystemUserId) {
        self.0.extend_from_slice(id.as_bytes());
    }

    fn time(&mut self, time: SystemTime) {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        self.0.extend_from_slice(&millis.to_be_bytes());
    }

    fn optional_time(&mut self, time: Option<SystemTime>) {
        self.byte(u8::from(time.is_some()));
        if let Some(time) = time {
            self.time(time);
        }
    }

    fn user(&mut self, user: &SavedUser) -> Result<(), TooLong> {
        self.id(user.id);
        self.number(user.owner.packed());
        self.text(user.system.as_str())?;
        self.number(user.vendor.packed());
        self.optional_time(user.fetched);
        self.time(user.changed);
        self.time(user.last_used);
        self.parties(&user.parties)?;
        // At the end, and only if there is one, since records of before end here. Which of the two there are is told by
        // their length.
        if let Some(lost) = user.lost {
            self.time(lost);
        }
        if let Some(ReadFor(packages)) = user.read_for {
            self.byte(READ_FOR);
            self.0.extend_from_slice(&packages.to_be_bytes());
        }
        Ok(())
    }

    /// The distinct rights first, then each party with the number of its own.
    fn parties(&mut self, parties: &[PartyRights]) -> Result<(), TooLong> {
        let mut numbers = HashMap::new();
        let mut distinct = Vec::new();
        let mut each = Vec::with_capacity(parties.len());
        for rights in parties {
            let number =
                *numbers.entry((&rights.packages, &rights.resources)).or_insert_with(|| {
                    distinct.push(rights);
                    distinct.len() - 1
                });
            each.push((rights.party, number));
        }
        self.length(distinct.len())?;
        for rights in distinct {
            self.list(&rights.packages, PackageId::as_str)?;
            self.list(&rights.resources, ResourceId::as_str)?;
        }
        self.length(each.len())?;
        for (party, number) in each {
            self.number(party.packed());
            self.length(number)?;
        }
        Ok(())
    }

    fn list<T>(&mut self, list: &[T], text: impl Fn(&T) -> &str) -> Result<(), TooLong> {
        self.length(list.len())?;
        list.iter().try_for_each(|one| self.text(text(one)))
    }

    fn resource(&mut self, resource: &SavedResource) -> Result<(), TooLong> {
        self.text(resource.id.as_str())?;
        self.byte(u8::from(resource.published.access_list));
        self.bytes(&resource.published.policy)?;
        self.time(resource.verified);
        Ok(())
    }

    fn catalogue(&mut self, packages: &HashMap<String, PackageId>) -> Result<(), TooLong> {
        self.length(packages.len())?;
        for (code, package) in packages {
            self.text(code)?;
            self.text(package.as_str())?;
        }
        Ok(())
    }

    fn access_lists(&mut self, saved: &SavedLists) -> Result<(), TooLong> {
        self.text(&saved.owner)?;
        self.time(saved.fetched);
        self.length(saved.lists.len())?;
        for (resource, lists) in &saved.lists {
            self.text(resource.as_str())?;
            self.length(lists.len())?;
            lists.iter().try_for_each(|list| self.access_list(list))?;
        }
        Ok(())
    }

    fn access_list(&mut self, list: &AccessList) -> Result<(), TooLong> {
        self.length(list.members.len())?;
        list.members.iter().for_each(|member| self.number(member.packed()));
        self.byte(u8::from(list.actions.is_some()));
        if let Some(actions) = &list.actions {
            self.length(actions.len())?;
            actions.iter().try_for_each(|action| self.text(action.as_str()))?;
        }
        Ok(())
    }

    fn question(&mut self, question: &Question) -> Result<(), TooLong> {
        self.id(question.system_user());
        self.text(question.party().expose())?;
        self.text(question.resource().as_str())?;
        self.text(question.action().as_str())?;
        self.byte(u8::from(question.instance().is_some()));
        question.instance().map_or(Ok(()), |instance| self.text(instance.as_str()))
    }
}

/// Bytes on their way in. Every part is `None` when it is not there whole, or not what it should be.
struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn flag(&mut self) -> Option<bool> {
        match self.array::<1>()? {
            [0] => Some(false),
            [1] => Some(true),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn length(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    fn text(&mut self) -> Option<&'a str> {
        std::str::from_utf8(self.bytes()?).ok()
    }

    fn parsed<T: FromStr>(&mut self) -> Option<T> {
        self.text()?.parse().ok()
    }

    fn id(&mut self) -> Option<SystemUserId> {
        SystemUserId::from_bytes(self.array()?)
    }

    fn organisation(&mut self) -> Option<OrgNumber> {
        OrgNumber::from_packed(self.number()?)
    }

    fn time(&mut self) -> Option<SystemTime> {
        let millis = u64::from_be_bytes(self.array()?);
        UNIX_EPOCH.checked_add(Duration::from_millis(millis))
    }

    /// As many as the length before them says. Nothing is set aside for them before they are there, so a
    /// wrong length costs no memory.
    fn many<T>(&mut self, one: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let length = self.length()?;
        (0..length).map(|_| one(self)).collect()
    }

    fn user(&mut self) -> Option<SavedUser> {
        Some(SavedUser {
            id: self.id()?,
            owner: self.organisation()?,
            system: self.parsed()?,
            vendor: self.organisation()?,
            fetched: if self.flag()? { Some(self.time()?) } else { None },
            changed: self.time()?,
            last_used: self.time()?,
            parties: self.parties()?,
            lost: if matches!(self.0.len(), TIME | TIME_AND_READ_FOR) {
                Some(self.time()?)
            } else {
                None
            },
            read_for: if self.0.is_empty() { None } else { Some(self.read_for()?) },
        })
    }

    fn read_for(&mut self) -> Option<ReadFor> {
        let [READ_FOR] = self.array()? else { return None };
        Some(ReadFor(u64::from_be_bytes(self.array()?)))
    }

    fn parties(&mut self) -> Option<Vec<PartyRights>> {
        let distinct = self.many(|from| {
            let packages: Vec<PackageId> = from.many(Self::parsed)?;
            let resources: Vec<ResourceId> = from.many(Self::parsed)?;
            Some((packages, resources))
        })?;
        self.many(|from| {
            let party = from.organisation()?;
            let (packages, resources) = distinct.get(from.length()?)?.clone();
            Some(PartyRights { party, packages, resources })
        })
    }

    fn resource(&mut self) -> Option<SavedResource> {
        let id = self.parsed()?;
        let access_list = self.flag()?;
        let policy = Arc::from(self.bytes()?);
        let published = PublishedResource { policy, access_list };
        Some(SavedResource { id, published, verified: self.time()? })
    }

    fn catalogue(&mut self) -> Option<HashMap<String, PackageId>> {
        let pairs = self.many(|from| Some((from.text()?.to_owned(), from.parsed()?)))?;
        Some(pairs.into_iter().collect())
    }

    fn access_lists(&mut self) -> Option<SavedLists> {
        let owner = self.text()?.to_owned();
        let fetched = self.time()?;
        let lists = self.many(|from| Some((from.parsed()?, from.many(Self::access_list)?)))?;
        let lists: AccessLists = lists.into_iter().collect();
        Some(SavedLists { owner, lists, fetched })
    }

    fn access_list(&mut self) -> Option<AccessList> {
        let members = self.many(Self::organisation)?;
        let actions = if self.flag()? {
            let actions: BTreeSet<ActionId> = self.many(Self::parsed)?.into_iter().collect();
            Some(actions)
        } else {
            None
        };
        Some(AccessList { members, actions })
    }

    fn question(&mut self) -> Option<StorableQuestion> {
        let id = self.id()?;
        // Check digits were looked at when it was asked, as the configuration says.
        let number = self.text()?;
        let party = OrgNumber::parse(number, CheckDigits::Ignored).ok()?;
        let right = Right { resource: self.parsed()?, action: self.parsed()? };
        let instance = if self.flag()? { Some(self.parsed()?) } else { None };
        StorableQuestion::of(Question::new(id, Party::Organization(party), right, instance))
    }
}
