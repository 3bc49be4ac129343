//! How wide the columns of a table are.

/// What a column wants.
#[derive(Clone, Copy, Debug)]
pub struct Want {
    /// What its title and its cells take.
    pub whole: usize,
    /// Narrower than this it is of no use.
    pub least: usize,
    /// Columns with the largest number go first where room runs out; 0 stays.
    pub rank: u8,
    /// Takes the room that is left.
    pub grows: bool,
}

/// Between columns.
pub const GAP: usize = 2;

/// The width of each column, in `room` columns of the screen; none = it is left out. Of the columns that stay, those
/// that are wider than their least give room, the widest first. The sum with the gaps is at most `room`.
pub fn fit(wants: &[Want], room: usize) -> Vec<Option<usize>> {
    let mut shown: Vec<bool> = vec![true; wants.len()];
    let sum = |shown: &[bool], of: fn(&Want) -> usize| {
        let all = wants.iter().zip(shown).filter(|(_, s)| **s);
        all.clone().map(|(w, _)| of(w)).sum::<usize>() + GAP * all.count().saturating_sub(1)
    };
    let least = |w: &Want| w.least.min(w.whole);
    while sum(&shown, least) > room {
        let last = (0..wants.len()).filter(|&i| shown[i]).max_by_key(|&i| (wants[i].rank, i));
        let Some(last) = last else { break };
        shown[last] = false;
    }
    let mut widths: Vec<Option<usize>> =
        wants.iter().zip(&shown).map(|(w, s)| s.then_some(w.whole)).collect();
    let used = |widths: &[Option<usize>]| {
        let all = widths.iter().flatten();
        all.clone().sum::<usize>() + GAP * all.count().saturating_sub(1)
    };
    while used(&widths) > room {
        let spare = |i: usize| widths[i].map_or(0, |w| w.saturating_sub(least(&wants[i])));
        // The column that grows takes what the others leave it, so it gives first.
        let widest = (0..wants.len()).filter(|&i| spare(i) > 0).max_by_key(|&i| (wants[i].grows, widths[i]));
        let Some(widest) = widest else { break };
        widths[widest] = widths[widest].map(|w| w - 1);
    }
    let left = room.saturating_sub(used(&widths));
    if let Some(grows) = (0..wants.len()).find(|&i| wants[i].grows && shown[i]) {
        widths[grows] = widths[grows].map(|w| w + left);
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(whole: usize, least: usize, rank: u8) -> Want {
        Want { whole, least, rank, grows: false }
    }

    #[test]
    fn what_fits_is_shown_whole() {
        assert_eq!(fit(&[want(5, 2, 0), want(7, 7, 1)], 80), [Some(5), Some(7)]);
        assert_eq!(fit(&[], 80), []);
    }

    #[test]
    fn wide_columns_give_room_before_any_goes() {
        assert_eq!(fit(&[want(20, 5, 0), want(8, 8, 3)], 20), [Some(10), Some(8)]);
        assert_eq!(fit(&[want(20, 5, 0), want(18, 5, 0)], 30), [Some(14), Some(14)]);
    }

    #[test]
    fn columns_go_by_rank_when_their_least_is_too_much() {
        let wants = [want(20, 15, 0), want(8, 8, 2), want(9, 9, 1)];
        assert_eq!(fit(&wants, 30), [Some(19), None, Some(9)]);
        assert_eq!(fit(&wants, 16), [Some(16), None, None]);
    }

    #[test]
    fn the_growing_column_takes_what_is_left_and_gives_first() {
        let note = Want { whole: 30, least: 4, rank: 0, grows: true };
        assert_eq!(fit(&[want(10, 5, 0), note], 60), [Some(10), Some(48)]);
        assert_eq!(fit(&[want(10, 5, 0), note], 20), [Some(10), Some(8)]);
    }

    #[test]
    fn nothing_is_ever_wider_than_the_screen() {
        let wants: Vec<Want> = (0..9).map(|i| want(3 + 7 * i, 2 + 2 * i, (i % 4) as u8)).collect();
        for room in 0..300 {
            let widths: Vec<usize> = fit(&wants, room).into_iter().flatten().collect();
            let used = widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1);
            assert!(used <= room, "{used} in {room}");
        }
    }
}
