use futures_util::TryStreamExt as _;
use sailor::{http::{ListPage, PageLimits, PageRequest, Paging, pages, read_json}, prelude::*};
use serde_json::Value;

async fn list_issues(_: Message<NoBody>, cx: Context) -> anyhow::Result<()> {
    let fetch = async |request: PageRequest| -> anyhow::Result<ListPage> {
        let response = match request {
            PageRequest::Url(next) => cx.oauth().get(next).send().await?,
            _ => cx.oauth().get("/issues?per_page=100").send().await?,
        };
        let (url, headers) = (response.url().clone(), response.headers().clone());
        let issues: Vec<Value> = read_json(response, 16 << 20).await?;
        Ok(ListPage::new(url, headers, issues, Value::Null))
    };
    let mut pages = std::pin::pin!(pages(Paging::LinkHeader, PageLimits::default(), fetch));
    while let Some(page) = pages.try_next().await? {
        cx.data_all(page.items).await?;
    }
    Ok(())
}
