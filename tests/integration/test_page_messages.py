"""The page's promises about what is written on it: where it goes, what survives, and what disappears."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from playwright.async_api import Route, expect

from chatserver.storage.database import single_connection
from tests.support.browser import WAIT_MS, Tab, open_tab
from tests.support.devices import Device, sign_in
from tests.support.passing import let_pass

if TYPE_CHECKING:
    from playwright.async_api import BrowserContext

    from tests.support.server import ServerProcess

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]


def named(start: str) -> str:
    return f"{start}{uuid.uuid4().hex[:8]}"


async def friend(server: ServerProcess, start: str, of: str, text: str) -> tuple[Device, int]:
    """Return somebody who has written to a user, and the chat."""
    device = await sign_in(server, named(start), phone_number=f"+1416{uuid.uuid4().int % 10**7:07d}")
    async with device.http(server) as http:
        answer = (await http.post("/api/messages", json={"to": of, "text": text})).json()
    return device, answer["chat_id"]


async def texts(device: Device, chat_id: int, server: ServerProcess) -> list[str]:
    async with device.http(server) as http:
        rows = (await http.get(f"/api/chats/{chat_id}/messages", params={"limit": 1000})).json()
    return [row["text"] for row in rows if row["kind"] == "message"]


async def test_a_message_goes_to_the_chat_shown_though_another_history_is_slow(
    tab: Tab, page_server: ServerProcess
) -> None:
    server, page, me = page_server, tab.page, named("ana")
    await tab.enter(me)
    await tab.connected()
    ben, with_ben = await friend(server, "ben", me, "from ben")
    eva, with_eva = await friend(server, "eva", me, "from eva")
    await tab.pick(ben.name)
    await page.locator("#messages").get_by_text("from ben").wait_for()
    held: asyncio.Queue[Route] = asyncio.Queue()
    await page.route(f"**/api/chats/{with_eva}/messages*", held.put)
    await tab.pick(eva.name)
    # At once, and before any history: nothing of ben is on screen, and what is sent is eva's.
    assert await page.locator("#title").inner_text() == eva.name
    assert "from ben" not in await page.locator("#messages").inner_text()
    await tab.write("for eva")
    await tab.pick(ben.name)
    await tab.write("for ben")
    # Eva's history comes when ben is on screen, and changes nothing there.
    await (await held.get()).continue_()
    await page.locator("#messages").get_by_text("for ben").wait_for()
    await expect(page.locator("#messages .pending")).to_have_count(0)
    assert await page.locator("#title").inner_text() == ben.name
    assert await texts(ben, with_ben, server) == ["from ben", "for ben"]
    assert await texts(eva, with_eva, server) == ["from eva", "for eva"]


async def test_a_draft_stays_in_its_chat_and_over_a_reload(tab: Tab, page_server: ServerProcess) -> None:
    server, page, me = page_server, tab.page, named("ana")
    await tab.enter(me)
    await tab.connected()
    ben, with_ben = await friend(server, "ben", me, "from ben")
    eva, _ = await friend(server, "eva", me, "from eva")
    field = page.get_by_label("Message", exact=True)
    await tab.pick(ben.name)
    await field.fill("half a word to ben")
    await tab.pick(eva.name)
    await expect(field).to_have_value("")
    await field.fill("half a word to eva")
    await page.reload()
    await tab.pick(ben.name)
    await expect(field).to_have_value("half a word to ben")
    await page.get_by_role("button", name="Send", exact=True).click()
    await expect(field).to_have_value("")
    await page.locator("#messages .sent, #messages .delivered").wait_for()
    await tab.pick(eva.name)
    await expect(field).to_have_value("half a word to eva")
    assert await texts(ben, with_ben, server) == ["from ben", "half a word to ben"]


async def test_a_deleted_text_disappears_from_chat_list_and_quotes_and_no_late_answer_brings_it_back(
    tab: Tab, page_server: ServerProcess
) -> None:
    server, page, me = page_server, tab.page, named("ana")
    await tab.enter(me)
    await tab.connected()
    ben, chat_id = await friend(server, "ben", me, "a secret")
    async with ben.http(server) as http:
        await http.post("/api/messages", json={"chat_id": chat_id, "text": "as I said", "reply_to": 1})
        await tab.pick(ben.name)
        await expect(page.locator("#messages").get_by_text("a secret")).to_have_count(2)
        # An answer with the text is on its way while the text is deleted.
        late: asyncio.Queue[tuple[Route, str]] = asyncio.Queue()

        async def hold(route: Route) -> None:
            await late.put((route, await (await route.fetch()).text()))

        await page.route(f"**/api/chats/{chat_id}/messages*", hold)
        await tab.pick(ben.name)
        route, body = await late.get()
        assert "a secret" in body
        for seq in (1, 2):
            assert (await http.delete(f"/api/chats/{chat_id}/messages/{seq}")).status_code == 200
    await expect(page.locator("#messages").get_by_text("Message deleted")).to_have_count(2)
    await expect(page.locator("body")).not_to_contain_text("a secret")
    await expect(page.locator("#chats")).not_to_contain_text("as I said")
    async with page.expect_response(f"**/api/chats/{chat_id}/messages*"):
        await route.fulfill(body=body, content_type="application/json")
    # What comes after the late answer is drawn after it.
    await tab.write("and after it")
    await page.locator("#messages .sent, #messages .delivered").wait_for()
    await expect(page.locator("#messages").get_by_text("Message deleted")).to_have_count(2)
    await expect(page.locator("body")).not_to_contain_text("a secret")


async def test_what_was_written_offline_is_sent_in_order_after_a_reload_and_is_gone_after_the_sign_out(
    tab: Tab, page_server: ServerProcess
) -> None:
    server, page, me = page_server, tab.page, named("ana")
    await tab.enter(me)
    await tab.connected()
    ben, chat_id = await friend(server, "ben", me, "from ben")
    eva = await sign_in(server, named("eva"), phone_number=f"+1417{uuid.uuid4().int % 10**7:07d}")
    await tab.pick(ben.name)
    await tab.cut()
    offline = [f"offline {number}" for number in range(5)]
    for text in offline:
        await tab.write(text)
    await tab.begin(eva.name)
    await tab.write("first words to eva")
    await page.reload()
    await page.get_by_text("reconnecting").wait_for()
    await page.locator("#chats").get_by_role("button", name=eva.name).wait_for()
    await tab.mend()
    await tab.pick(ben.name)
    await page.locator("#messages").get_by_text(offline[-1]).wait_for()
    await expect(page.locator("#messages .pending")).to_have_count(0)
    assert await texts(ben, chat_id, server) == ["from ben", *offline]
    async with eva.http(server) as http:
        assert [row["text"] for row in (await http.get("/api/messages")).json()] == ["first words to eva"]
    await tab.cut()
    await tab.write("never sent")
    page.on("dialog", lambda dialog: dialog.accept())
    await page.get_by_role("button", name="Sign out").click()
    await page.get_by_role("button", name="Send me a code").wait_for()
    assert await page.evaluate("Object.keys(localStorage).length") == 0


async def test_a_second_tab_says_that_it_is_not_the_active_one_and_can_take_over(
    tab: Tab, context: BrowserContext, page_server: ServerProcess
) -> None:
    server, me = page_server, named("ana")
    await tab.enter(me)
    await tab.connected()
    ben, chat_id = await friend(server, "ben", me, "from ben")
    await tab.pick(ben.name)
    second = await open_tab(context, server)
    await second.page.goto(f"{server.url}/")
    notice = "This one is not the active one"
    await second.page.get_by_text(notice).wait_for()
    assert (len(second.sockets), len(tab.sockets)) == (0, 1)
    await tab.page.get_by_label("Message", exact=True).fill("begun in the first")
    await second.page.get_by_role("button", name="Use it here").click()
    await second.connected()
    await tab.page.get_by_text(notice).wait_for()
    await second.pick(ben.name)
    await expect(second.page.get_by_label("Message", exact=True)).to_have_value("begun in the first")
    await second.page.get_by_role("button", name="Send", exact=True).click()
    await second.page.locator("#messages .sent, #messages .delivered").wait_for()
    # Who is loaded again is the active one still, and the other takes over from one that was closed.
    await second.page.reload()
    await second.connected()
    await second.page.close()
    await tab.page.evaluate("dispatchEvent(new Event('focus'))")
    await tab.connected()
    await tab.pick(ben.name)
    await tab.page.locator("#messages").get_by_text("begun in the first").wait_for()
    assert await texts(ben, chat_id, server) == ["from ben", "begun in the first"]
    # A sign-out is every tab's.
    third = await open_tab(context, server)
    await third.page.goto(f"{server.url}/")
    await third.page.get_by_text(notice).wait_for()
    await tab.page.get_by_role("button", name="Sign out").click()
    await third.page.get_by_role("button", name="Send me a code").wait_for()


async def test_what_can_never_be_sent_is_said_so_and_not_sent_again(tab: Tab, page_server: ServerProcess) -> None:
    server, page, me = page_server, tab.page, named("ana")
    await tab.enter(me)
    await tab.connected()
    ben, chat_id = await friend(server, "ben", me, "from ben")
    await tab.pick(ben.name)
    field, problem = page.get_by_label("Message", exact=True), page.locator("#chat .error")
    for text, why in (("x" * 65_537, "65536 are allowed"), ("half \ud83d", "half of a character")):
        set_value = f"document.querySelector('#compose input').value = JSON.parse({json.dumps(json.dumps(text))})"
        await page.evaluate(set_value)
        await page.get_by_role("button", name="Send", exact=True).click()
        await expect(problem).to_contain_text(why)
        assert await field.evaluate("field => field.value.length") == len(text)
    await tab.write("я" * 5000)
    await expect(page.locator("#messages .sent, #messages .delivered")).to_have_count(1)
    # A limit that the page hears of after the message was written.
    await tab.cut()
    for text in ("x" * 300, "small"):
        await tab.write(text)
    tab.limits = {"max_frame_bytes": 300}
    await tab.mend()
    await expect(page.locator("#messages .pending")).to_have_count(0)
    assert tab.sent()[1:] == ["small"]
    # One that it hears of by the close alone.
    tab.limits, tab.most_bytes = {}, 300
    await tab.sockets[-1].close(code=1012)
    await tab.connected()
    for text in ("y" * 300, "small too"):
        await tab.write(text)
    await expect(page.locator("#messages .pending")).to_have_count(0)
    assert tab.sent()[1:] == ["small", "y" * 300, "small too"]
    assert await page.locator("#messages .failed").count() == 2
    # What the server refuses stays to be seen, and is not sent by a reload.
    await tab.begin("nobody-of-this-name")
    await tab.write("hello?")
    await page.get_by_text("Not sent:").wait_for()
    await page.reload()
    await tab.connected()
    await tab.pick("nobody-of-this-name")
    await page.get_by_text("Not sent:").wait_for()
    assert tab.sent().count("hello?") == 1
    await page.get_by_role("button", name="Discard").click()
    await expect(page.locator("#messages li")).to_have_count(0)
    assert await texts(ben, chat_id, server) == ["from ben", "я" * 5000, "small", "small too"]


async def test_who_may_not_be_seen_has_a_number_and_no_null_is_shown(tab: Tab, page_server: ServerProcess) -> None:
    server, page, me = page_server, tab.page, named("ana")
    await tab.enter(me)
    await tab.connected()
    ben, chat_id = await friend(server, "ben", me, "from ben")

    def hidden(content: Any) -> Any:
        """Every name and number, as for somebody who may see none."""
        if isinstance(content, list):
            return [hidden(one) for one in content]
        if not isinstance(content, dict):
            return content
        secret = {"username", "phone_number", "from", "to", "last_seen", "delivered_seq", "read_seq"}
        return {key: None if key in secret else hidden(value) for key, value in content.items()}

    async def hide(route: Route) -> None:
        await route.fulfill(json=hidden(await (await route.fetch()).json()))

    await page.route("**/api/chats**", hide)
    await page.reload()
    await tab.pick(f"User {ben.user_id}")
    await tab.write("hello")
    await page.locator("#messages .sent, #messages .delivered").wait_for()
    assert await page.locator("#title").inner_text() == f"User {ben.user_id}"
    await expect(page.locator("body")).not_to_contain_text("null")
    await expect(page.locator("body")).not_to_contain_text("undefined")
    # Hidden marks are not marks of nothing: the row's own status counts.
    async with ben.http(server) as http:
        answer = await http.post("/api/receipts", json={"chats": {str(chat_id): {"read_seq": 2}}})
        assert answer.status_code == httpx.codes.NO_CONTENT
    await page.reload()
    await tab.pick(f"User {ben.user_id}")
    await page.locator("#messages .read").wait_for()
    assert await texts(ben, chat_id, server) == ["from ben", "hello"]


async def test_what_another_device_hides_or_clears_or_another_edits_is_gone_at_once_and_a_group_left_takes_no_message(
    tab: Tab, page_server: ServerProcess
) -> None:
    server, page, me = page_server, tab.page, named("ana")
    number = f"+1415{uuid.uuid4().int % 10**7:07d}"
    await tab.enter(me, number)
    await tab.connected()
    ben, chat_id = await friend(server, "ben", me, "first words")
    other = await sign_in(server, phone_number=number)
    async with (
        other.http(server) as mine,
        ben.http(server) as his,
    ):
        await his.post("/api/messages", json={"chat_id": chat_id, "text": "second words"})
        await tab.pick(ben.name)
        await page.locator("#messages").get_by_text("second words").wait_for()
        assert (await mine.delete(f"/api/chats/{chat_id}/messages/2?for=me")).status_code == 200
        await expect(page.locator("body")).not_to_contain_text("second words")
        await expect(page.locator("#chats")).to_contain_text("first words")
        await his.patch(f"/api/chats/{chat_id}/messages/1", json={"text": "other words"})
        await expect(page.locator("#chats")).to_contain_text("other words")
        await expect(page.locator("body")).not_to_contain_text("first words")
        await tab.pick(ben.name)
        await expect(page.locator("#messages")).to_contain_text("other words")
        assert (await mine.post(f"/api/chats/{chat_id}/clear", json={"up_to_seq": 3})).status_code == 200
        await expect(page.locator("body")).not_to_contain_text("other words")
        await his.put(f"/api/chats/{chat_id}/timer", json={"seconds": 60})
        await expect(page.locator("#messages")).to_contain_text("Messages disappear after 1 minute")
        await his.post("/api/messages", json={"chat_id": chat_id, "text": "passing words"})
        await page.locator("#messages").get_by_text("passing words").wait_for()
        async with single_connection(lambda: server.dsn, "test") as connection:
            await let_pass(connection, 120)
        await expect(page.locator("body")).not_to_contain_text("passing words")
        group = (await his.post("/api/groups", json={"group_name": "Team", "members": [me]})).json()
        await tab.pick("Team")
        await expect(page.locator("#compose")).to_be_visible()
        my_id = (await mine.get("/api/users/me")).json()["user_id"]
        assert (await his.delete(f"/api/groups/{group['group_id']}/members/{my_id}")).status_code == 200
        await expect(page.locator("#compose")).to_be_hidden()


async def test_what_waits_in_one_tab_is_sent_once_by_the_one_that_takes_over(
    tab: Tab, context: BrowserContext, page_server: ServerProcess
) -> None:
    server, me = page_server, named("ana")
    await tab.enter(me)
    await tab.connected()
    ben, chat_id = await friend(server, "ben", me, "from ben")
    await tab.pick(ben.name)
    await tab.cut()
    offline = [f"offline {number}" for number in range(3)]
    for text in offline:
        await tab.write(text)
    second = await open_tab(context, server)
    await second.page.goto(f"{server.url}/")
    await second.page.get_by_role("button", name="Use it here").click()
    await second.connected()
    await second.pick(ben.name)
    await expect(second.page.locator("#messages .sent, #messages .delivered")).to_have_count(3)
    await tab.mend()
    assert await texts(ben, chat_id, server) == ["from ben", *offline]
    assert (second.sent(), tab.sent()) == (offline, [])
    # Loaded both at once, one of them is the active one.
    await asyncio.gather(tab.page.reload(), second.page.reload())
    for shown in ("#chat", "#elsewhere"):
        async with asyncio.timeout(WAIT_MS / 1000):
            while [await one.page.locator(shown).is_visible() for one in (tab, second)].count(True) != 1:
                await asyncio.sleep(0.05)
