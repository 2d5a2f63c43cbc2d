// The page's entry point: sign-in, and the one tab of this browser that is connected.
import { Api } from "/api.js";
import { Chat } from "/chat.js";
import * as storage from "/storage.js";
import { Tab } from "/tab.js";
import { draw } from "/view.js";

const $ = (selector) => document.querySelector(selector);
const api = new Api();
const session = storage.read("session");
let chat = null;    // while this tab is the active one
let codeId = null;  // code_id of this page's last request for a code

function showOnly(id) {
  for (const main of document.querySelectorAll("main")) main.hidden = main.id !== id;
}

function fail(error) { $("#sign-in .error").textContent = error ? error.message : ""; }

// After a sign-out no data of the user remains, including answers that are still in flight.
function forget() {
  chat?.stop();
  storage.clear();
  location.reload();
}

// --- one active tab --------------------------------------------------------------------------------

function begin() {
  chat = new Chat(session, {
    draw: () => { if (chat && !chat.stopped) draw(chat); },
    signedOut: forget,
    replaced: () => { tab.release(); rest(); },
  });
  showOnly("chat");
  draw(chat);
}

function rest() {
  chat?.stop();
  showOnly("elsewhere");
}

let tab = null;
if (session) tab = new Tab({ active: begin, passive: rest });
else showOnly("sign-in");
$("#use-here").addEventListener("click", () => tab.takeOver());
storage.onSessionChanged(() => { chat?.stop(); location.reload(); });

// --- sign in ---------------------------------------------------------------------------------------

$("#request-code").addEventListener("submit", async (event) => {
  event.preventDefault();
  fail();
  try {
    const phone_number = new FormData(event.target).get("phone_number").trim();
    const answer = await api.call("POST", "/api/auth/code", { phone_number });
    codeId = answer.code_id || null;
    enterCode(answer.dev_code);
  } catch (error) {
    fail(error);
    // A code was sent to this number before, perhaps before a reload of the page: it can still be used.
    if (error.code === "rate_limited") enterCode();
  }
});

function enterCode(shown = "") {
  $("#enter-code").hidden = false;
  $("#development").hidden = !shown;
  $("#enter-code [name=code]").value = shown;
  $("#enter-code [name=code]").focus();
}

$("#enter-code").addEventListener("submit", async (event) => {
  event.preventDefault();
  fail();
  const form = new FormData(event.target);
  const body = { phone_number: $("#request-code [name=phone_number]").value.trim(), code: form.get("code"), device_name: "Web page", cookie: true };
  if (codeId) body.code_id = codeId;
  if (form.get("username").trim()) body.username = form.get("username").trim();
  try {
    const made = await api.call("POST", "/api/auth/session", body);
    storage.clear();
    if (!storage.write("session", made)) throw new Error("This browser does not store data for this page. Allow it, and sign in again.");
    location.reload();
  } catch (error) { fail(error); }
});

$("#sign-out").addEventListener("click", async () => {
  const waiting = chat.outbox.entries.length;
  if (waiting && !confirm(`${waiting} of your messages will never be sent. Sign out?`)) return;
  try { await chat.api.call("DELETE", "/api/auth/session"); } catch { /* What is stored here is forgotten in any case. */ } finally { forget(); }
});

// --- write -----------------------------------------------------------------------------------------

$("#new-chat").addEventListener("submit", (event) => {
  event.preventDefault();
  const to = new FormData(event.target).get("to").trim();
  event.target.reset();
  if (to) chat.show({ to });
});

$("#compose input").addEventListener("input", ({ target }) => { if (chat?.shown) chat.keepDraft(target.value); });

$("#compose").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = event.target.elements.text;
  const text = input.value.trim();
  if (text && chat.write(text)) input.value = "";
});

document.addEventListener("visibilitychange", () => chat?.markRead());
