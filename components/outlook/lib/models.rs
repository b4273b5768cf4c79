//! Select models: the mail folders and calendars to choose from.

use crate::graph;
use sailor::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Folder {
    id: String,
    #[serde(default)]
    display_name: Option<String>,
    #[serde(default)]
    child_folder_count: Option<u32>,
}

/// The names of all mail folders, including folders in folders, by id.
pub async fn get_folders(
    cx: ServiceContext<Value>,
    per_page: u32,
) -> anyhow::Result<BTreeMap<String, String>> {
    let query = [
        ("$top", per_page.to_string()),
        ("$select", "id,displayName,childFolderCount".to_owned()),
    ];
    let mut lists = vec![graph::path(&["me", "mailFolders"])?];
    let mut folders = BTreeMap::new();
    while let Some(list) = lists.pop() {
        let listed: Vec<Folder> = graph::all_items(cx.oauth(), &list, &query).await?;
        for folder in listed {
            let name = folder.display_name.unwrap_or_else(|| folder.id.clone());
            let is_new = folders.insert(folder.id.clone(), name).is_none();
            if is_new && folder.child_folder_count > Some(0) {
                lists.push(graph::path(&[
                    "me",
                    "mailFolders",
                    &folder.id,
                    "childFolders",
                ])?);
            }
        }
    }
    Ok(folders)
}

#[derive(Deserialize)]
struct Calendar {
    id: String,
    #[serde(default)]
    name: Option<String>,
}

/// The names of all calendars, by id.
pub async fn get_calendars(cx: ServiceContext<Value>) -> anyhow::Result<BTreeMap<String, String>> {
    let query = [("$top", "100"), ("$select", "id,name")];
    let path = graph::path(&["me", "calendars"])?;
    let calendars: Vec<Calendar> = graph::all_items(cx.oauth(), &path, &query).await?;
    Ok(calendars
        .into_iter()
        .map(|Calendar { id, name }| (id.clone(), name.unwrap_or(id)))
        .collect())
}
