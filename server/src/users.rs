//! The users of the cluster as this node has applied them.
//!
//! A session holds its [`Account`], which is changed in place: a change of rights counts from the
//! next request on, and a user with all rights costs one load of a flag. The default user is the one
//! that nobody changed until the log says otherwise: then this node's `requirepass` is its
//! password, and afterwards `requirepass` has no meaning.

use crate::acl_log::AclLog;
use crate::commands::acl::{DEFAULT_USER, User};
use arc_swap::ArcSwap;
use bytes::Bytes;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// One user, for as long as a session is in its name.
#[derive(Debug)]
pub struct Account {
    name: Bytes,
    all_rights: AtomicBool,
    removed: AtomicBool,
    user: ArcSwap<User>,
}

impl Account {
    fn new(name: Bytes, user: User) -> Self {
        Account {
            name,
            all_rights: AtomicBool::new(user.has_all_rights()),
            removed: AtomicBool::new(false),
            user: ArcSwap::from_pointee(user),
        }
    }

    fn change(&self, user: User) {
        // A request between the two is judged by the old rights or the new ones, whole.
        self.all_rights.store(false, Ordering::Release);
        let all_rights = user.has_all_rights();
        self.user.store(Arc::new(user));
        self.all_rights.store(all_rights, Ordering::Release);
    }

    /// The user's name.
    pub fn name(&self) -> &Bytes {
        &self.name
    }

    /// Whether nothing is forbidden to it: the one test of the hot path.
    pub fn has_all_rights(&self) -> bool {
        self.all_rights.load(Ordering::Acquire)
    }

    /// Whether the user was deleted.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// What it may do now.
    pub fn user(&self) -> Arc<User> {
        self.user.load_full()
    }
}

/// All users.
#[derive(Debug)]
pub struct Users {
    accounts: RwLock<BTreeMap<Bytes, Arc<Account>>>,
    default: Arc<Account>,
    /// Whether the log holds the default user.
    default_is_stored: AtomicBool,
    removed: Notify,
    log: AclLog,
}

impl Default for Users {
    fn default() -> Self {
        let name = Bytes::from_static(DEFAULT_USER);
        let default = Arc::new(Account::new(name.clone(), User::everybody("")));
        Users {
            accounts: RwLock::new(BTreeMap::from([(name, default.clone())])),
            default,
            default_is_stored: AtomicBool::new(false),
            removed: Notify::new(),
            log: AclLog::default(),
        }
    }
}

impl Users {
    /// Takes over what the state holds.
    pub fn replace(&self, stored: Vec<(Bytes, User)>) {
        let mut accounts = self.accounts.write();
        let mut old = std::mem::take(&mut *accounts);
        let mut default_is_stored = false;
        for (name, user) in stored {
            default_is_stored |= name == DEFAULT_USER;
            let account = match old.remove(&name) {
                Some(account) => {
                    account.change(user);
                    account
                }
                None => Arc::new(Account::new(name.clone(), user)),
            };
            accounts.insert(name, account);
        }
        if !default_is_stored {
            old.remove(DEFAULT_USER);
            self.default.change(User::everybody(""));
            accounts.insert(self.default.name.clone(), self.default.clone());
        }
        self.default_is_stored.store(default_is_stored, Ordering::Release);
        for account in old.values() {
            account.change(User::nobody());
            account.removed.store(true, Ordering::Release);
        }
        if !old.is_empty() {
            self.removed.notify_one();
        }
    }

    /// The default user.
    pub fn default_account(&self) -> Arc<Account> {
        self.default.clone()
    }

    /// Whether the log holds the default user, so that `requirepass` has no meaning.
    pub fn default_is_stored(&self) -> bool {
        self.default_is_stored.load(Ordering::Acquire)
    }

    /// Whether clients need no AUTH on a node with this `requirepass`.
    pub fn default_is_open(&self, requirepass: &str) -> bool {
        match self.default_is_stored() {
            true => self.default.user.load().is_open(),
            false => requirepass.is_empty(),
        }
    }

    /// What a user is on a node with this `requirepass`.
    pub fn user(&self, name: &[u8], requirepass: &str) -> Option<Arc<User>> {
        if name == DEFAULT_USER && !self.default_is_stored() {
            return Some(Arc::new(User::everybody(requirepass)));
        }
        self.accounts.read().get(name).map(|account| account.user())
    }

    /// The account of a user that this password proves.
    pub fn prove(&self, name: &[u8], password: &[u8], requirepass: &str) -> Option<Arc<Account>> {
        self.user(name, requirepass).filter(|user| user.accepts(password))?;
        self.accounts.read().get(name).cloned()
    }

    /// Whether there is a user of this name.
    pub fn exists(&self, name: &[u8]) -> bool {
        self.accounts.read().contains_key(name)
    }

    /// All users by name.
    pub fn list(&self, requirepass: &str) -> Vec<(Bytes, Arc<User>)> {
        let names: Vec<Bytes> = self.accounts.read().keys().cloned().collect();
        let users = names.into_iter();
        users.filter_map(|name| Some((name.clone(), self.user(&name, requirepass)?))).collect()
    }

    /// What was denied.
    pub fn log(&self) -> &AclLog {
        &self.log
    }

    /// Waits until users were removed.
    pub async fn removed(&self) {
        self.removed.notified().await;
    }
}
