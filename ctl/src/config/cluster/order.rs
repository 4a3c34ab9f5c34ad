//! An order that respects every `after`. Always: what does not depend on one another keeps the
//! order of the file.

/// Places in activation order, or the places of a circle.
pub(super) fn order(after: &[Vec<usize>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut done: Vec<usize> = Vec::new();
    while done.len() < after.len() {
        let ready = (0..after.len())
            .find(|n| !done.contains(n) && after[*n].iter().all(|first| done.contains(first)));
        match ready {
            Some(n) => done.push(n),
            None => return Err(circle(after, &done)),
        }
    }
    Ok(done)
}

/// Follows what is waited for until a place comes back. Every place that is left waits for another
/// one that is left.
fn circle(after: &[Vec<usize>], done: &[usize]) -> Vec<usize> {
    let mut path: Vec<usize> = Vec::new();
    let mut at = (0..after.len()).find(|n| !done.contains(n));
    while let Some(n) = at {
        if let Some(start) = path.iter().position(|seen| *seen == n) {
            return path[start..].to_vec();
        }
        path.push(n);
        at = after[n].iter().copied().find(|first| !done.contains(first));
    }
    path
}

/// Whether `later` waits for `earlier`, directly or through others. `after` holds no circle.
pub(super) fn waits_for(after: &[Vec<usize>], later: usize, earlier: usize) -> bool {
    let mut seen = vec![false; after.len()];
    let mut left = vec![later];
    while let Some(n) = left.pop() {
        for first in after.get(n).into_iter().flatten() {
            if *first == earlier {
                return true;
            }
            if !std::mem::replace(&mut seen[*first], true) {
                left.push(*first);
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_come_first_and_the_rest_keeps_its_order() {
        assert_eq!(order(&[vec![], vec![0], vec![1]]), Ok(vec![0, 1, 2]));
        assert_eq!(order(&[vec![2], vec![], vec![1], vec![]]), Ok(vec![1, 2, 0, 3]));
        assert_eq!(order(&[]), Ok(vec![]));
    }

    #[test]
    fn a_circle_is_named_without_what_only_hangs_on_it() {
        assert_eq!(order(&[vec![], vec![3], vec![1], vec![2]]), Err(vec![1, 3, 2]));
        assert_eq!(order(&[vec![1], vec![2], vec![1]]), Err(vec![1, 2]));
        assert_eq!(order(&[vec![0]]), Err(vec![0]));
    }

    #[test]
    fn waiting_goes_through_others() {
        let after = [vec![], vec![0], vec![1], vec![0]];
        assert!(waits_for(&after, 2, 0));
        assert!(!waits_for(&after, 3, 1));
        assert!(!waits_for(&after, 0, 0));
    }
}
