//! The questions of docs/sql.md, each asked as it stands there.

use cardlens_query::budget::Limits;

use crate::support::{ask, everything, front};

const PAGE: &str = include_str!("../../../../docs/sql.md");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_question_of_the_docs_has_an_answer() {
    let front = front(Limits::default()).await;
    let blocks = PAGE.split("```sql\n").skip(1);
    let questions: Vec<&str> = blocks.filter_map(|block| block.split("```").next()).collect();
    assert_eq!(questions.len(), 13);
    for question in questions {
        let question = question.trim().trim_end_matches(';');
        ask(&front, &everything(), question)
            .await
            .unwrap_or_else(|fault| panic!("{question}: {fault}"));
    }
}
