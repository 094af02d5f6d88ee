//! Conditions on the program behind a flow.

use std::fmt;

use crate::document::Refusal;
use crate::facts::App;
use crate::identity::{Level, Levels};
use crate::identity_condition::IdentityCondition;
use crate::pattern::Pattern;
use crate::truth::Truth;

/// Conditions on the program behind a flow.
///
/// All fields that are not empty must hold; within a field one value that matches is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AppCondition {
    /// The executable's path.
    pub path: Vec<Pattern>,
    /// The executable's file name.
    pub name: Vec<Pattern>,
    /// The socket's owner, by number.
    pub uid: Vec<u32>,
    /// The socket's owner, by login name.
    pub user: Vec<Box<str>>,
    /// The systemd unit.
    pub unit: Vec<Pattern>,
    /// The container.
    pub container: Vec<ContainerPrefix>,
    /// The executable's path of any ancestor.
    pub parent: Vec<Pattern>,
    /// The other levels of its identity.
    pub identity: IdentityCondition,
    /// What must not hold.
    pub except: Option<Box<Self>>,
}

/// What an application may be known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppField {
    /// [`AppCondition::path`]
    Path,
    /// [`AppCondition::name`]
    Name,
    /// [`AppCondition::uid`]
    Uid,
    /// [`AppCondition::user`]
    User,
    /// [`AppCondition::unit`]
    Unit,
    /// [`AppCondition::container`]
    Container,
    /// [`AppCondition::parent`]
    Parent,
    /// [`AppCondition::identity`], at this level.
    Identity(Level),
    /// The same, where nobody can say what it is.
    IdentityUnknown(Level),
    /// [`AppCondition::except`]
    Except,
}

impl AppCondition {
    /// The first field that does not hold for `app`.
    pub fn first_mismatch(&self, app: &App) -> Option<AppField> {
        let path = app.path.as_os_str().as_encoded_bytes();
        let any = |patterns: &[Pattern], text: &[u8]| {
            patterns.iter().any(|pattern| pattern.matches(text))
        };
        let unit = || {
            app.unit
                .as_deref()
                .is_some_and(|unit| any(&self.unit, unit.as_bytes()))
        };
        let user = || {
            app.user
                .as_deref()
                .is_some_and(|user| self.user.iter().any(|own| **own == *user))
        };
        let container = || {
            app.container
                .as_deref()
                .is_some_and(|id| self.container.iter().any(|own| own.matches(id)))
        };
        let parent = || {
            app.parents
                .iter()
                .any(|parent| any(&self.parent, parent.as_os_str().as_encoded_bytes()))
        };
        if !self.path.is_empty() && !any(&self.path, path) {
            Some(AppField::Path)
        } else if !self.name.is_empty() && !any(&self.name, app.name.as_bytes()) {
            Some(AppField::Name)
        } else if !self.uid.is_empty() && !self.uid.contains(&app.uid) {
            Some(AppField::Uid)
        } else if !self.user.is_empty() && !user() {
            Some(AppField::User)
        } else if !self.unit.is_empty() && !unit() {
            Some(AppField::Unit)
        } else if !self.container.is_empty() && !container() {
            Some(AppField::Container)
        } else if !self.parent.is_empty() && !parent() {
            Some(AppField::Parent)
        } else if let Some(field) = self.identity_mismatch(app) {
            Some(field)
        } else if self.may_exclude(app) {
            Some(AppField::Except)
        } else {
            None
        }
    }

    fn identity_mismatch(&self, app: &App) -> Option<AppField> {
        if self.identity.is_empty() {
            return None;
        }
        let (level, truth) = self.identity.first_mismatch(&app.identity)?;
        Some(match truth {
            Truth::Unknown => AppField::IdentityUnknown(level),
            Truth::Fails | Truth::Holds | Truth::Awaited => AppField::Identity(level),
        })
    }

    /// What is not known is not ruled out.
    fn may_exclude(&self, app: &App) -> bool {
        self.rest(app) != Truth::Holds
    }

    fn truth(&self, app: &App) -> Truth {
        match self.first_mismatch(app) {
            None => Truth::Holds,
            Some(AppField::IdentityUnknown(_)) => Truth::Unknown.and(self.rest(app)),
            Some(AppField::Except) => self.rest(app),
            Some(
                AppField::Path
                | AppField::Name
                | AppField::Uid
                | AppField::User
                | AppField::Unit
                | AppField::Container
                | AppField::Parent
                | AppField::Identity(_),
            ) => Truth::Fails,
        }
    }

    /// Whether it is none of what must not be.
    fn rest(&self, app: &App) -> Truth {
        let except = self.except.as_ref();
        except.map_or(Truth::Holds, |except| except.truth(app).negated())
    }

    /// The levels of identity that must be known to judge it.
    pub fn levels(&self) -> Levels {
        let except = self.except.as_ref();
        self.identity.levels() | except.map_or(Levels::NONE, |except| except.levels())
    }

    /// Why `field` does not hold for `app`, as a sentence.
    pub fn mismatch_reason(&self, field: AppField, app: &App) -> String {
        match field {
            AppField::Path => format!(
                "app {} does not match {}",
                app.path.display(),
                one_of(&self.path)
            ),
            AppField::Name => format!(
                "app name {} does not match {}",
                app.name,
                one_of(&self.name)
            ),
            AppField::Uid => format!("app uid {} is not {}", app.uid, one_of(&self.uid)),
            AppField::User => match &app.user {
                Some(user) => format!("app user {user} is not {}", one_of(&self.user)),
                None => format!(
                    "app uid {} has no login name, so it is not {}",
                    app.uid,
                    one_of(&self.user)
                ),
            },
            AppField::Unit => match &app.unit {
                Some(unit) => format!("app unit {unit} does not match {}", one_of(&self.unit)),
                None => format!("app runs in no unit, so not in {}", one_of(&self.unit)),
            },
            AppField::Container => match &app.container {
                Some(id) => format!("app container {id} is not {}", one_of(&self.container)),
                None => format!(
                    "app runs in no container, so not in {}",
                    one_of(&self.container)
                ),
            },
            AppField::Parent => format!("no parent of the app matches {}", one_of(&self.parent)),
            AppField::Identity(level) | AppField::IdentityUnknown(level) => {
                self.identity.mismatch_reason(level, &app.identity)
            }
            AppField::Except => format!("app {} is one that `not` excludes", app.path.display()),
        }
    }
}

/// `a`, `a or b`, `a, b or 7 more`.
pub(crate) fn one_of<T: fmt::Display>(values: &[T]) -> String {
    match values {
        [] => "nothing".to_owned(),
        [only] => only.to_string(),
        [first, second] => format!("{first} or {second}"),
        [first, second, more @ ..] => format!("{first}, {second} or {} more", more.len()),
    }
}

/// A container id, whole or its first 12 or more digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ContainerPrefix(Box<str>);

impl ContainerPrefix {
    /// Digits that container tools show, and the fewest that name a container.
    pub const FEWEST: usize = 12;
    /// Digits of a whole id.
    const MOST: usize = 64;

    /// Reads an id or its beginning; upper case is read as lower case.
    ///
    /// # Errors
    ///
    /// Anything but 12 to 64 hexadecimal digits.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        if digits && (Self::FEWEST..=Self::MOST).contains(&text.len()) {
            return Ok(Self(text.to_ascii_lowercase().into()));
        }
        Err(Refusal::new(
            format!("\"{text}\" is no container id"),
            "write the id, or its first 12 or more hexadecimal digits, as `docker ps` shows it",
        ))
    }

    /// Whether `id` begins so.
    pub fn matches(&self, id: &str) -> bool {
        id.starts_with(&*self.0)
    }

    /// The digits that every such id begins with, to be found by.
    pub(crate) fn head(&self) -> ContainerHead {
        Self::head_of(&self.0).unwrap_or_default()
    }

    /// The digits that an id is found by; none where it is too short to meet any condition.
    pub(crate) fn head_of(id: &str) -> Option<ContainerHead> {
        id.as_bytes().first_chunk().copied()
    }
}

/// The first digits of a container id.
pub(crate) type ContainerHead = [u8; ContainerPrefix::FEWEST];

impl fmt::Display for ContainerPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Fact;

    fn app() -> App {
        App {
            path: "/usr/bin/python3.11".into(),
            name: "python3.11".to_owned(),
            pid: 1,
            uid: 1000,
            user: Some("alice".to_owned()),
            command_line: vec!["python3".to_owned()],
            parents: vec!["/usr/bin/bash".into(), "/usr/sbin/sshd".into()],
            unit: Some("ssh@1.service".to_owned()),
            container: Some("0123456789abcdef".repeat(4)),
            identity: crate::identity::Identity::default(),
        }
    }

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts
            .iter()
            .map(|text| Pattern::parse(text).unwrap())
            .collect()
    }

    /// The condition that `set` makes must miss `field`, and hold once `mend` has changed it.
    fn check(field: AppField, set: impl Fn(&mut AppCondition), mend: impl Fn(&mut AppCondition)) {
        let mut condition = AppCondition::default();
        set(&mut condition);
        assert_eq!(condition.first_mismatch(&app()), Some(field));
        mend(&mut condition);
        assert_eq!(condition.first_mismatch(&app()), None);
    }

    #[test]
    fn every_field_is_compared_and_one_value_of_a_list_is_enough() {
        let container = |text: &str| ContainerPrefix::parse(text).unwrap();
        check(
            AppField::Path,
            |c| c.path = patterns(&["/usr/bin/python3", "/bin/*"]),
            |c| {
                c.path.extend(patterns(&["/usr/bin/python3*"]));
            },
        );
        check(
            AppField::Name,
            |c| c.name = patterns(&["python3"]),
            |c| c.name.extend(patterns(&["python*"])),
        );
        check(
            AppField::Uid,
            |c| c.uid = vec![0, 100],
            |c| c.uid.push(1000),
        );
        check(
            AppField::User,
            |c| c.user = vec!["bob".into()],
            |c| c.user.push("alice".into()),
        );
        check(
            AppField::Unit,
            |c| c.unit = patterns(&["ssh.service"]),
            |c| c.unit.extend(patterns(&["ssh@*"])),
        );
        check(
            AppField::Container,
            |c| c.container = vec![container("abcdef012345")],
            |c| {
                c.container.push(container("0123456789ABC"));
            },
        );
        check(
            AppField::Parent,
            |c| c.parent = patterns(&["/usr/bin/python3.11"]),
            |c| {
                c.parent.extend(patterns(&["/usr/sbin/*"]));
            },
        );
    }

    #[test]
    fn what_an_app_does_not_have_matches_nothing() {
        let bare = App {
            user: None,
            unit: None,
            container: None,
            parents: Vec::new(),
            ..app()
        };
        let any = || patterns(&["**"]);
        let conditions = [
            AppCondition {
                user: vec!["alice".into()],
                ..AppCondition::default()
            },
            AppCondition {
                unit: any(),
                ..AppCondition::default()
            },
            AppCondition {
                parent: any(),
                ..AppCondition::default()
            },
            AppCondition {
                container: vec![ContainerPrefix("".into())],
                ..AppCondition::default()
            },
        ];
        for condition in conditions {
            assert!(condition.first_mismatch(&app()).is_none());
            assert!(condition.first_mismatch(&bare).is_some(), "{condition:?}");
        }
    }

    #[test]
    fn all_fields_must_hold() {
        let both = AppCondition {
            path: patterns(&["/usr/**"]),
            uid: vec![0],
            ..AppCondition::default()
        };
        assert_eq!(both.first_mismatch(&app()), Some(AppField::Uid));
    }

    #[test]
    fn what_is_not_known_of_an_identity_matches_nothing_not_even_under_not() {
        let deb = |level| {
            let mut identity = IdentityCondition::default();
            identity.require(level, patterns(&["deb:curl"]));
            AppCondition {
                identity,
                ..AppCondition::default()
            }
        };
        let not = |except| AppCondition {
            except: Some(Box::new(except)),
            ..AppCondition::default()
        };
        let with = |found: Fact<Box<str>>| App {
            identity: [(Level::Package, found)].into_iter().collect(),
            ..app()
        };
        let package = || deb(Level::Package);
        let unknown = AppField::IdentityUnknown(Level::Package);
        let another = AppField::Identity(Level::Package);
        let cases = [
            (app(), Some(unknown), Some(AppField::Except)),
            (with(Fact::Unknown), Some(unknown), Some(AppField::Except)),
            (with(Fact::Absent), Some(another), None),
            (with(Fact::Is("deb:wget".into())), Some(another), None),
            (
                with(Fact::Is("deb:curl".into())),
                None,
                Some(AppField::Except),
            ),
        ];
        for (app, is, is_not) in cases {
            assert_eq!(package().first_mismatch(&app), is, "{app:?}");
            assert_eq!(not(package()).first_mismatch(&app), is_not, "{app:?}");
            let twice = not(not(package())).first_mismatch(&app).is_none();
            assert_eq!(twice, is.is_none(), "{app:?}");
        }
        // What another condition rules out need not be known.
        let other_user = not(AppCondition {
            uid: vec![0],
            ..package()
        });
        assert_eq!(other_user.first_mismatch(&app()), None);
        assert_eq!(other_user.levels(), package().levels());
    }

    #[test]
    fn a_container_is_named_by_12_to_64_digits() {
        assert!(ContainerPrefix::parse(&"a".repeat(12)).is_ok());
        assert!(ContainerPrefix::parse(&"a".repeat(64)).is_ok());
        for wrong in ["a".repeat(11), "a".repeat(65), "g".repeat(12)] {
            assert!(ContainerPrefix::parse(&wrong).is_err(), "{wrong}");
        }
    }
}
