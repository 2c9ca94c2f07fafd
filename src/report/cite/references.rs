//! What can be cited beside a campaign.

/// What can be cited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    Flipside,
    Paper,
    GoldenEye,
    SampleSize,
    Wilson,
    ClopperPearson,
    StoppedRates,
    EmpiricalBernstein,
}

/// All of them, in the order of their entries.
pub(super) const CITED: [Reference; 8] = [
    Reference::Flipside,
    Reference::Paper,
    Reference::GoldenEye,
    Reference::SampleSize,
    Reference::Wilson,
    Reference::ClopperPearson,
    Reference::StoppedRates,
    Reference::EmpiricalBernstein,
];

/// A reference as it is cited.
pub(super) struct BibEntry {
    pub key: &'static str,
    /// In plain text.
    pub short: &'static str,
    pub kind: &'static str,
    pub fields: &'static [(&'static str, &'static str)],
}

impl Reference {
    pub(super) const fn entry(self) -> &'static BibEntry {
        match self {
            Reference::Flipside => &BibEntry {
                key: "flipside",
                short: "Flipside",
                kind: "misc",
                fields: &[
                    ("author", "{The Flipside authors}"),
                    ("howpublished", "Computer program"),
                ],
            },
            Reference::Paper => &BibEntry {
                key: "wasim2023hardware",
                short: "Wasim et al., 2023",
                kind: "inproceedings",
                fields: &[
                    (
                        "author",
                        "Wasim, Syed Talal and Soboka, Kabila Haile and Mahmoud, Abdulrahman and Khan, Salman and \
                         Brooks, David and Wei, Gu-Yeon",
                    ),
                    ("title", "Hardware Resilience Properties of Text-Guided Image Classifiers"),
                    (
                        "booktitle",
                        "Advances in Neural Information Processing Systems 36 (NeurIPS 2023)",
                    ),
                    ("year", "2023"),
                ],
            },
            Reference::GoldenEye => &BibEntry {
                key: "mahmoud2022goldeneye",
                short: "Mahmoud et al., 2022",
                kind: "inproceedings",
                fields: &[
                    (
                        "author",
                        "Mahmoud, Abdulrahman and Tambe, Thierry and Aloui, Tarek and Brooks, David and Wei, Gu-Yeon",
                    ),
                    (
                        "title",
                        "{GoldenEye}: A Platform for Evaluating Emerging Numerical Data Formats in {DNN} Accelerators",
                    ),
                    (
                        "booktitle",
                        "52nd Annual IEEE/IFIP International Conference on Dependable Systems and Networks (DSN)",
                    ),
                    ("year", "2022"),
                ],
            },
            Reference::SampleSize => &BibEntry {
                key: "leveugle2009statistical",
                short: "Leveugle et al., 2009",
                kind: "inproceedings",
                fields: &[
                    (
                        "author",
                        "Leveugle, R{\\'e}gis and Calvez, A. and Maistri, Paolo and Vanhauwaert, Pierre",
                    ),
                    ("title", "Statistical Fault Injection: Quantified Error and Confidence"),
                    (
                        "booktitle",
                        "Design, Automation and Test in Europe Conference and Exhibition (DATE)",
                    ),
                    ("year", "2009"),
                ],
            },
            Reference::Wilson => &BibEntry {
                key: "wilson1927probable",
                short: "Wilson, 1927",
                kind: "article",
                fields: &[
                    ("author", "Wilson, Edwin B."),
                    (
                        "title",
                        "Probable Inference, the Law of Succession, and Statistical Inference",
                    ),
                    ("journal", "Journal of the American Statistical Association"),
                    ("volume", "22"),
                    ("number", "158"),
                    ("pages", "209--212"),
                    ("year", "1927"),
                ],
            },
            Reference::ClopperPearson => &BibEntry {
                key: "clopper1934use",
                short: "Clopper and Pearson, 1934",
                kind: "article",
                fields: &[
                    ("author", "Clopper, C. J. and Pearson, E. S."),
                    (
                        "title",
                        "The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial",
                    ),
                    ("journal", "Biometrika"),
                    ("volume", "26"),
                    ("number", "4"),
                    ("pages", "404--413"),
                    ("year", "1934"),
                ],
            },
            Reference::StoppedRates => &BibEntry {
                key: "girshick1946unbiased",
                short: "Girshick et al., 1946",
                kind: "article",
                fields: &[
                    ("author", "Girshick, M. A. and Mosteller, Frederick and Savage, L. J."),
                    (
                        "title",
                        "Unbiased Estimates for Certain Binomial Sampling Problems with Applications",
                    ),
                    ("journal", "The Annals of Mathematical Statistics"),
                    ("volume", "17"),
                    ("number", "1"),
                    ("pages", "13--23"),
                    ("year", "1946"),
                ],
            },
            Reference::EmpiricalBernstein => &BibEntry {
                key: "maurer2009empirical",
                short: "Maurer and Pontil, 2009",
                kind: "inproceedings",
                fields: &[
                    ("author", "Maurer, Andreas and Pontil, Massimiliano"),
                    ("title", "Empirical {Bernstein} Bounds and Sample Variance Penalization"),
                    (
                        "booktitle",
                        "Proceedings of the 22nd Annual Conference on Learning Theory (COLT)",
                    ),
                    ("year", "2009"),
                ],
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_unique_and_every_entry_is_whole() {
        for (at, reference) in CITED.into_iter().enumerate() {
            let BibEntry { key, fields, .. } = reference.entry();
            assert!(CITED[..at].iter().all(|other| other.entry().key != *key), "{key}");
            let has = |name: &str| fields.iter().any(|(known, _)| *known == name);
            assert!(has("author"), "{key}");
            assert!(reference == Reference::Flipside || has("title") && has("year"), "{key}");
            for (name, value) in *fields {
                assert_eq!(value.matches('{').count(), value.matches('}').count(), "{key}: {name}");
            }
        }
    }
}
