//! The devices of the account.

use magpie::v1::{ListDevicesRequest, RevokeDeviceRequest};
use serde_json::json;

use crate::{
    app::App,
    failure::{Failure, Result},
    json,
    limits::DEVICE_COLUMNS_MAX,
    output::Paint,
    render::Table,
    text,
};

pub(crate) async fn list(app: &App) -> Result<()> {
    let link = app.link()?;
    let answer = link
        .read(|api| async move { api.auth().list_devices(ListDevicesRequest {}).await })
        .await?;
    if app.out.is_json() {
        for device in &answer.devices {
            app.out.line(&json::device(device).to_string())?;
        }
        return Ok(());
    }
    let head = ["DEVICE", "NAME", "LOGGED IN", "LAST USED", ""];
    let mut table = Table::new(app.out.paint(), &head);
    for device in &answer.devices {
        let here = if device.current { "this one" } else { "" };
        table.row([
            (device.device_id.to_string(), Paint::plain as _),
            (text::snippet(&device.name, DEVICE_COLUMNS_MAX), Paint::bold),
            (app.clock.full(device.create_time.as_ref()), Paint::plain),
            (app.clock.full(device.last_used_time.as_ref()), Paint::plain),
            (here.to_owned(), Paint::good),
        ]);
    }
    for line in table.lines() {
        app.out.line(&line)?;
    }
    Ok(())
}

pub(crate) async fn revoke(app: &App, device_id: i64) -> Result<()> {
    let link = app.link()?;
    if device_id == link.profile().device_id {
        let program = app.program(&link);
        return Err(Failure::usage("this is the device that you are on")
            .hint(format!("`{program} logout` logs it out")));
    }
    link.read(|api| async move {
        let request = RevokeDeviceRequest { device_id };
        api.auth().revoke_device(request).await
    })
    .await?;
    app.out.done(
        || format!("Device {device_id} is logged out."),
        || json!({"type": "device_revoked", "device_id": device_id.to_string()}),
    )
}
