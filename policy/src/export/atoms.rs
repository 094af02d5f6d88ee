//! A rule as rules with one value for each condition, which mean the same together.

use rustc_hash::FxHashSet;

use crate::destination::Destination;
use crate::import::draft::{Draft, Values};
use crate::port::Port;

/// How many one rule may stand for.
const MOST: usize = 1000;

/// The single rules, in the order of the values, each value in its one form.
pub(super) fn of(draft: &Draft) -> Result<Vec<Draft>, String> {
    let mut base = draft.clone();
    (base.app, base.to, base.port) = (Vec::new(), Vec::new(), Vec::new());
    for to in &mut base.to_not {
        *to = canonical(to)?;
    }
    base.to_not.sort_unstable();
    let mut atoms = vec![base];
    let mut app = draft.app.clone();
    app.sort_by_key(|(key, _)| *key);
    for (key, values) in &app {
        let singles: Vec<Values> = match values {
            Values::Texts(texts) => texts
                .iter()
                .map(|text| Values::Texts(vec![text.clone()]))
                .collect(),
            Values::Numbers(numbers) => numbers
                .iter()
                .map(|number| Values::Numbers(vec![*number]))
                .collect(),
        };
        atoms = product(&atoms, &singles, |atom, value| {
            atom.app.push((key, value.clone()))
        })?;
    }
    let to = draft
        .to
        .iter()
        .map(|to| canonical(to))
        .collect::<Result<Vec<_>, _>>()?;
    // `*` is what no value is.
    if !to.is_empty() && !to.iter().any(|to| to == "*") {
        atoms = product(&atoms, &to, |atom, to| atom.to.push(to.clone()))?;
    }
    let ports = draft
        .port
        .iter()
        .map(|port| ports(port))
        .collect::<Result<Vec<_>, _>>()?
        .concat();
    if !ports.is_empty() {
        atoms = product(&atoms, &ports, |atom, port| atom.port.push(port.clone()))?;
    }
    Ok(atoms)
}

fn product<T>(
    atoms: &[Draft],
    values: &[T],
    add: impl Fn(&mut Draft, &T),
) -> Result<Vec<Draft>, String> {
    if atoms.len() * values.len() > MOST {
        return Err(format!(
            "it stands for more than {MOST} rules with single values"
        ));
    }
    let made = atoms.iter().flat_map(|atom| {
        values.iter().map(|value| {
            let mut made = atom.clone();
            add(&mut made, value);
            made
        })
    });
    Ok(made.collect())
}

fn canonical(to: &str) -> Result<String, String> {
    Destination::parse(to)
        .map(|to| to.to_string())
        .map_err(|refusal| refusal.message)
}

/// TCP's and UDP's apart.
fn ports(text: &str) -> Result<Vec<String>, String> {
    Ok(
        match Port::parse(text).map_err(|refusal| refusal.message)? {
            Port::TcpOrUdp(first, last) => vec![
                Port::Tcp(first, last).to_string(),
                Port::Udp(first, last).to_string(),
            ],
            port @ (Port::Tcp(..) | Port::Udp(..) | Port::Icmp | Port::Other(_)) => {
                vec![port.to_string()]
            }
        },
    )
}

/// Those of TCP and UDP that are alike in all else as one, whose port has no protocol.
pub(super) fn paired(atoms: &[Draft]) -> Vec<Draft> {
    let twin = |atom: &Draft, from: &str, to: &str| {
        let port = atom.port.first()?.strip_prefix(from)?;
        Some(Draft {
            port: vec![format!("{to}{port}")],
            name: atom.name.clone(),
            ..atom.clone()
        })
    };
    let all: FxHashSet<&Draft> = atoms.iter().collect();
    let has = |wanted: &Draft| all.contains(wanted);
    let pair = |atom: &Draft| {
        if twin(atom, "udp/", "tcp/").is_some_and(|other| has(&other)) {
            return None;
        }
        if twin(atom, "tcp/", "udp/").is_some_and(|other| has(&other)) {
            return twin(atom, "tcp/", "");
        }
        Some(atom.clone())
    };
    atoms.iter().filter_map(pair).collect()
}
