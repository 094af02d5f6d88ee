//! The order in which the original tries its rules, and what must be refused because of what comes before it.

use super::piece::Piece;

/// Originals that prefer the more special rule: rules that block first, and each rule that allows behind the last of them
/// that it is not certainly preferred to.
pub(crate) fn by_rank(pieces: Vec<Piece>) -> Vec<Piece> {
    let (allowing, mut ordered): (Vec<_>, Vec<_>) = pieces.into_iter().partition(Piece::allows);
    let key = |piece: &Piece| (piece.rank.class, piece.rank.special());
    ordered.sort_by_key(|piece| std::cmp::Reverse(key(piece)));
    // Where each comes to stand: behind this many of those that block.
    let mut places: Vec<(usize, Piece)> = allowing
        .into_iter()
        .map(|piece| {
            let stands_back = |other: &&Piece| {
                !other.disabled && !piece.rank.is_above(&other.rank) && piece.may_meet(other)
            };
            let behind = ordered.iter().rposition(|other| stands_back(&other));
            (behind.map_or(0, |at| at + 1), piece)
        })
        .collect();
    places.sort_by_key(|(place, _)| *place);
    let mut merged = Vec::with_capacity(ordered.len() + places.len());
    let mut places = places.into_iter().peekable();
    for (at, blocking) in ordered.into_iter().enumerate() {
        while let Some((_, piece)) = places.next_if(|(place, _)| *place <= at) {
            merged.push(piece);
        }
        merged.push(blocking);
    }
    merged.extend(places.map(|(_, piece)| piece));
    merged
}

/// The rules in their order, without those that allow what a refused rule before them may block.
pub(crate) fn without_widening(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut missing: Vec<Piece> = Vec::new();
    let mut kept = Vec::with_capacity(pieces.len());
    for mut piece in pieces {
        if piece.disabled {
            kept.push(piece);
            continue;
        }
        if piece.drafts.is_err() && !piece.allows() {
            // Of those that may be about any program one is enough.
            if piece.apps.is_some() || missing.iter().all(|other| other.apps.is_some()) {
                missing.push(piece.clone());
            }
        }
        if piece.allows() && piece.drafts.is_ok() {
            let before = missing.iter().find(|other| other.may_meet(&piece));
            if let Some(before) = before {
                let reason = format!(
                    "it would let pass what \"{}\" ({}) may block, and that could not be taken over",
                    before.label, before.place
                );
                piece = piece.refused(reason);
                piece.narrowed.clear();
            }
        }
        kept.push(piece);
    }
    kept
}
