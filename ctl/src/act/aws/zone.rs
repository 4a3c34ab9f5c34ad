//! What the state of an availability zone means. Pure.

use super::cloud::Watched;

/// The state of a zone, in AWS's word, with what AWS says about it.
pub fn judge(zone: &str, state: &str, messages: &[String]) -> Watched {
    let said =
        if messages.is_empty() { String::new() } else { format!(": {}", messages.join(" ")) };
    let text = format!("availability zone {zone} is {state}{said}; AWS's health page says more");
    match state {
        "available" => Watched::Well,
        "unavailable" => Watched::Wrong(5, text),
        // Also a word that AWS has made since.
        _ => Watched::Warn(105, text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unavailable_is_an_error() {
        assert_eq!(judge("eu-central-1a", "available", &[]), Watched::Well);
        for state in ["information", "constrained", "impaired", "something"] {
            assert!(matches!(judge("z", state, &[]), Watched::Warn(105, _)), "{state}");
        }
        let worst = judge("eu-central-1a", "unavailable", &["Power is out.".to_owned()]);
        let Watched::Wrong(5, text) = worst else { panic!("{worst:?}") };
        assert!(text.contains("eu-central-1a is unavailable: Power is out."), "{text}");
    }
}
