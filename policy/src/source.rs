//! Rules as written, read from documents and not yet compiled.

mod allowed;
mod app;
mod destinations;
mod identity;
mod lists;
mod review;
mod rule;
mod sets;
mod test;
mod values;
mod when;

use crate::definitions::Set;
use crate::document::{Document, Problem};
use crate::facts::Direction;
use crate::feed::Feed;
use crate::flow_test::FlowTest;
use crate::list::ListDefinition;
use crate::patience::Patience;
use crate::profile::Profile;
use crate::rule::{Origin, Rule};
use crate::verdict::Verdict;

pub use allowed::Allowed;
pub use destinations::Database;

pub use app::{AUTO, Unresolved, unresolved};
use destinations::{Destinations, ListUse, SetUse};
pub use identity::parse_fact;
use rule::read_rule;
use test::read_test;
use when::{ProfileUse, read_profile};

const VERDICTS: [(&str, Verdict); 4] = [
    ("allow", Verdict::Allow),
    ("ask", Verdict::Ask),
    ("block", Verdict::Block),
    ("drop", Verdict::Drop),
];
const DIRECTIONS: [(&str, Direction); 2] = [("out", Direction::Out), ("in", Direction::In)];

/// The rules of all files, in the order in which they are tried, and the default.
///
/// ```
/// use tidegate_policy::{Document, Policy, PolicySource};
///
/// let main = Document::parse("tidegate.toml", "[policy]\ndefault = \"block\"\n").unwrap();
/// let mut source = PolicySource::default();
/// source.read_main(&main);
/// assert!(main.finish().is_empty());
/// let policy = Policy::compile(source);
/// assert_eq!(policy.len(), 0);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicySource {
    /// What happens to a flow that no rule matches.
    pub default: Verdict,
    /// What happens to a flow that no rule matches and whose program is not known; `None`: the default.
    pub unattributed: Option<Verdict>,
    /// How long the user may take to answer, and what holds after that.
    pub patience: Patience,
    /// The rules in the order in which they are tried.
    pub rules: Vec<Rule>,
    /// Named sets of destinations.
    pub sets: Vec<Set>,
    /// Named groups of rules.
    pub profiles: Vec<Profile>,
    /// Lists, in the order written.
    pub lists: Vec<ListDefinition>,
    /// What the rules are expected to do.
    pub tests: Vec<FlowTest>,
    feeds: Vec<Feed>,
    set_uses: Vec<SetUse>,
    list_uses: Vec<ListUse>,
    databases: Vec<(Database, Origin)>,
    profile_uses: Vec<ProfileUse>,
}

impl Default for PolicySource {
    /// No rules; everything is allowed. Conditions on any facts are read.
    fn default() -> Self {
        Self {
            default: Verdict::Allow,
            unattributed: None,
            patience: Patience::default(),
            rules: Vec::new(),
            sets: Vec::new(),
            profiles: Vec::new(),
            lists: Vec::new(),
            tests: Vec::new(),
            feeds: Feed::ALL.to_vec(),
            set_uses: Vec::new(),
            list_uses: Vec::new(),
            databases: Vec::new(),
            profile_uses: Vec::new(),
        }
    }
}

impl PolicySource {
    /// No rules yet, for someone who can give these kinds of facts: conditions on others are refused.
    pub fn fed_by(feeds: &[Feed]) -> Self {
        Self {
            feeds: feeds.to_vec(),
            ..Self::default()
        }
    }

    /// Reads `[policy]` and appends each `[[rule]]`, `[[set]]`, `[[list]]`, `[[profile]]` and `[[test]]` of the main
    /// configuration file.
    ///
    /// What is wrong is noted in `document`; its other tables are the caller's to read. With an error among the
    /// problems the rules must not be used: a condition that could not be read is missing from its rule.
    pub fn read_main(&mut self, document: &Document) {
        if let Some(policy) = document.root().section("policy") {
            self.default = policy.choice("default", &VERDICTS).unwrap_or(self.default);
            self.unattributed = policy
                .choice("unattributed", &VERDICTS)
                .or(self.unattributed);
            self.patience = Patience::read(&policy);
        }
        self.append_rules(document);
    }

    /// Appends each `[[rule]]` of a further rule file, which may hold `[[set]]`, `[[list]]`, `[[profile]]` and `[[test]]`
    /// beside.
    pub fn read_rules(&mut self, document: &Document) {
        let only_main = "only the main configuration file may hold this table";
        let hint = "move it there; files in rules.d hold [[rule]], [[set]], [[list]], [[profile]] and [[test]] tables";
        document.root().refuse("policy", only_main, hint);
        document.root().refuse("capture", only_main, hint);
        document.root().refuse("geo", only_main, hint);
        self.append_rules(document);
    }

    /// Appends each `[[rule]]` of the file of answers, which holds nothing else and is [asked apart](crate::Policy::answers).
    pub fn read_answers(&mut self, document: &Document) {
        let only_rules = "the file of answers holds [[rule]] tables only";
        let hint = "put this into another file of rules.d: rules here are tried where those say \"ask\", and nowhere else";
        for key in ["policy", "capture", "geo", "list", "profile", "set", "test"] {
            document.root().refuse(key, only_rules, hint);
        }
        self.append_rules(document);
    }

    /// What is wrong or odd about all files taken together: sets that are not there or hold themselves, rules that can
    /// never decide, names used twice. To be asked when every file was read.
    pub fn review(&self) -> Vec<Problem> {
        let mut problems = sets::problems(&self.sets, &self.set_uses);
        problems.extend(when::problems(&self.profiles, &self.profile_uses));
        // What sets hold cannot be told where something is wrong with them.
        if problems.is_empty() {
            problems.extend(review::problems(&self.rules, &self.sets));
        }
        problems.extend(lists::problems(&self.lists, &self.list_uses, &self.feeds));
        problems
    }

    /// The databases of addresses that rules ask, and the first place where each is asked.
    pub fn databases(&self) -> &[(Database, Origin)] {
        &self.databases
    }

    fn append_rules(&mut self, document: &Document) {
        let root = document.root();
        let mut destinations = Destinations {
            feeds: &self.feeds,
            sets: &mut self.set_uses,
            lists: &mut self.list_uses,
            databases: &mut self.databases,
        };
        for section in root.sections("list") {
            self.lists.extend(lists::read_definition(&section));
        }
        for section in root.sections("set") {
            self.sets.extend(destinations.read_set(&section));
        }
        for section in root.sections("profile") {
            self.profiles.extend(read_profile(&section));
        }
        for section in root.sections("test") {
            self.tests
                .extend(read_test(&section, &mut self.profile_uses));
        }
        for section in root.sections("rule") {
            let uses = &mut self.profile_uses;
            self.rules
                .extend(read_rule(&section, &mut destinations, uses));
        }
    }
}

#[cfg(test)]
mod tests;
