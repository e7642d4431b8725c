# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""The web console in a real browser, against a real house. Screenshots are kept in $BORA_ARTIFACTS, or in artifacts/console of the build folder."""
import os
import re
import threading
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import axe_playwright_python
import pytest
from conftest import BUILD, PACE, until
from playwright.sync_api import expect, sync_playwright

CHROMIUM = shutil.which("chromium")
AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
SHOTS = Path(os.environ["BORA_ARTIFACTS"]) / "console" if os.environ.get("BORA_ARTIFACTS") else BUILD / "artifacts/console"
PAGES = {"overview": "Overview", "playground": "Playground", "keys": "Keys", "limits": "Limits", "usage": "Usage", "models": "Models", "jobs": "Jobs", "workspaces": "Workspaces", "organizations": "Organisations", "audit": "Audit", "settings": "Settings"}
WIDTHS = {1280: 900, 360: 740}
TIMEOUT_MS = 20000 * PACE
HOSTILE = "<img src=x onerror=\"window.pwned=1\">&amp;'"

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
expect.set_options(timeout=TIMEOUT_MS)


# ---- the browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def chromium():
    arguments = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]  # containers have a small /dev/shm; Chromium's own sandbox does not run as root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium, house):
    """tab(width, scheme) -> a page of a context of its own. At the end: no error in any script, nothing that the policy refused, no cookie."""
    faults, contexts = [], []

    def console_message(message):
        # A status that is no success is written to the browser's console by the browser itself.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            faults.append(f"console: {message.text}")

    def new(width=1280, scheme="light", **options):
        context = chromium.new_context(viewport={"width": width, "height": WIDTHS.get(width, 800)}, color_scheme=scheme, base_url=house.base, reduced_motion="reduce", **options)
        context.set_default_timeout(TIMEOUT_MS)
        context.add_init_script("document.addEventListener('securitypolicyviolation', (e) => console.error('policy: ' + e.violatedDirective + ' ' + e.blockedURI))")
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(f"script: {error}"))
        page.on("console", console_message)
        contexts.append(context)
        page.goto("/console/")
        return page

    yield new
    for context in contexts:
        if context.cookies():
            faults.append(f"cookies: {context.cookies()}")
        context.close()
    assert faults == []


def sign_in(page, key):
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()
    expect(page.locator("main h1")).to_have_text("Overview")


def go(page, name):
    page.goto(f"/console/#/{name}")
    expect(page.locator("main h1")).to_have_text(PAGES[name])


def settled(page):
    """Nothing loads any more."""
    expect(page.locator("main .loading")).to_have_count(0)
    expect(page.locator("main [aria-busy=true]")).to_have_count(0)


def screenshot(page, name):
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)


def accessible(page, name):
    """Nothing that axe-core calls serious or critical, and nothing wider than the screen."""
    page.evaluate(AXE + ";0")
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    worst = [(v["id"], v["impact"], [n["target"] for n in v["nodes"]][:5]) for v in found if v["impact"] in ("serious", "critical")]
    assert worst == [], f"{name}: {worst}"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} is wider than the screen"


def dialog(page):
    return page.locator("dialog[open]")


@pytest.fixture(scope="module")
def admin(house):
    """An administrator's key of the first organisation, and its id."""
    return house.new_key(name="console admin", role="admin")


# ---- serving ---------------------------------------------------------------------------------------------------------


def test_every_part_says_what_it_may_do(house):
    """What the page loads, as the page names it: types, policy, no sniffing."""
    seen, to_see = {}, ["/console/"]
    while to_see:
        path = to_see.pop()
        with urllib.request.urlopen(house.base + path, timeout=30) as answer:
            seen[path], headers = answer.read().decode(), answer.headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer" and headers["cache-control"] == "no-cache" and headers["etag"]
        base = path.rsplit("/", 1)[0] + "/"
        named = re.findall(r'(?:href|src)="([^"#]+)"', seen[path]) if path == "/console/" else re.findall(r'(?:from|import\()\s*"(\.[^"]+)"', seen[path]) if path.endswith(".js") else []
        for name in named:
            target = os.path.normpath(base + name)
            if target not in seen and target not in to_see:
                to_see.append(target)
    assert len(seen) > 20
    assert all(path.endswith((".js", ".css", ".svg", "/")) for path in seen)


def test_root_leads_browsers_to_the_console(tab, house):
    page = tab()
    page.goto("/")
    assert page.url == house.base + "/console/"
    assert house.send("GET", "/", key=False)[0] == 404
    assert house.send("GET", "/console/js/nothing.js", key=False)[0] == 404


# ---- the door --------------------------------------------------------------------------------------------------------


def test_a_wrong_key_stays_outside(tab):
    page = tab()
    page.get_by_label("API key").fill("bora_aaaaaaaaaaaa_" + "x" * 43)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_text("This key is not valid")).to_be_visible()
    accessible(page, "refused")
    assert page.evaluate("sessionStorage.length + localStorage.length") == 0


def test_the_key_is_kept_in_this_tab_alone_and_forgotten(tab, admin):
    page = tab()
    sign_in(page, admin[0])
    assert page.evaluate("Object.values(sessionStorage)") == [admin[0]]
    assert page.evaluate("localStorage.length") == 0
    assert admin[0] not in page.content() and admin[0] not in page.url
    page.reload()
    expect(page.locator("main h1")).to_have_text("Overview")
    page.get_by_role("button", name="Sign out").first.click()
    expect(page.get_by_label("API key")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()


def test_the_next_one_reads_nothing_of_who_signed_out(tab, house, admin):
    page = tab()
    sign_in(page, house.key)
    go(page, "playground")
    page.get_by_label("System prompt").fill("The launch is on Monday.")
    page.get_by_label("Tokens at most").fill("8")
    ask(page, "Say hi.")
    go(page, "overview")
    page.go_back()
    expect(page.get_by_label("System prompt")).to_have_value("The launch is on Monday.")  # a look at another page loses nothing
    page.get_by_role("button", name="Sign out").first.click()
    page.goto("/console/#/overview")
    sign_in(page, admin[0])
    go(page, "playground")
    expect(page.get_by_label("System prompt")).to_have_value("")
    expect(page.locator(".turn")).to_have_count(0)
    assert "Monday" not in page.content()


def test_without_the_tick_a_reload_signs_out(tab, admin):
    page = tab()
    page.get_by_label("Stay signed in").uncheck()
    sign_in(page, admin[0])
    assert page.evaluate("sessionStorage.length") == 0
    page.reload()
    expect(page.get_by_label("API key")).to_be_visible()


def test_a_revoked_session_ends_at_the_door(tab, house):
    key, key_id = house.new_key(name="short", role="admin")
    page = tab()
    sign_in(page, key)
    house.revoke(key_id)
    page.goto("/console/#/keys")
    expect(page.get_by_text("no longer accepted")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_a_member_sees_its_own_and_no_more(tab, house):
    key, _ = house.new_key(name="reader", role="member")
    page = tab()
    sign_in(page, key)
    assert page.locator("#menu li").all_inner_texts() == ["Overview", "Playground", "Limits", "Usage", "Models", "Jobs", "Settings"]
    for name in ("overview", "limits", "usage", "models"):
        go(page, name)
        settled(page)
        expect(page.locator("main .notice.bad")).to_have_count(0)
    page.goto("/console/#/keys")
    expect(page.locator("main h1")).to_have_text("There is no such page")


# ---- from a key's birth to its death ---------------------------------------------------------------------------------


def test_a_key_is_made_used_seen_in_usage_and_revoked(tab, house, admin):
    page = tab(permissions=["clipboard-write"])
    sign_in(page, admin[0])
    go(page, "keys")
    page.get_by_role("button", name="New key").first.click()
    dialog(page).get_by_label("Name").fill(HOSTILE)
    dialog(page).get_by_text("Limits", exact=True).click()
    dialog(page).get_by_label("Requests per minute").fill("0.5x")
    dialog(page).get_by_role("button", name="Create key").click()
    expect(dialog(page).get_by_text("A whole number such as")).to_be_visible()
    accessible(page, "a field that must be mended")
    dialog(page).get_by_label("Requests per minute").fill("1.2k")
    dialog(page).get_by_label("Tokens per day").fill("2m")
    dialog(page).get_by_role("button", name="Create key").click()
    secret = dialog(page).get_by_label("API key")
    expect(secret).to_have_value(re.compile(r"^bora_[0-9a-z]{12}_\S{43}$"))
    key = secret.input_value()
    accessible(page, "the secret")
    dialog(page).get_by_role("button", name="Copy the key").click()
    expect(page.get_by_text("Copied", exact=True)).to_be_visible()

    # used, in the playground and by a program
    dialog(page).get_by_role("button", name="Try it in the playground").click()
    expect(page.locator("main h1")).to_have_text("Playground")
    expect(page.get_by_label("Model", exact=True)).to_have_value(house.model)
    assert key not in page.content()
    page.get_by_label("Your message").focus()
    page.keyboard.press("Control+V")  # pages of this policy may not read the clipboard; people may
    assert page.get_by_label("Your message").input_value() == key
    page.get_by_label("Your message").fill("Say hi.")
    page.get_by_label("Tokens at most").fill("24")
    page.get_by_label("Your message").press("Enter")
    expect(page.locator(".turn.assistant .statistics")).to_contain_text("first token")
    assert page.locator(".turn.assistant > .prose").inner_text().strip() != ""
    used = int(re.search(r"(\d+) out", page.locator(".statistics").inner_text())[1])
    assert 0 < used <= 24
    screenshot(page, "playground-answer")
    status, _, answer = house.chat(key=key)
    assert status == 200
    used += answer["usage"]["completion_tokens"]

    # seen in usage, to the token
    go(page, "keys")
    page.get_by_role("link", name=HOSTILE).click()
    expect(page.locator("main h1")).to_have_text(HOSTILE)
    figures = page.locator(".card", has_text="Last 30 days").locator(".figures")

    def output_tokens():
        page.reload()
        settled(page)
        return figures.count() == 1 and f"Output tokens\n{used}\n" in figures.inner_text() + "\n"

    until(output_tokens, f"{used} output tokens are seen")
    expect(page.locator(".limit-row", has_text="Requests per minute").last).to_contain_text("of 1,200")
    accessible(page, "a key")
    screenshot(page, "key")
    key_id = page.url.rsplit("/", 1)[1]

    # disabled, enabled, revoked
    page.get_by_role("button", name="Disable").click()
    dialog(page).get_by_role("button", name="Disable").click()
    expect(page.locator(".card", has_text="About").locator(".badge").first).to_have_text("disabled")
    assert house.chat(key=key)[0] == 401
    page.get_by_role("button", name="Enable").click()
    expect(page.locator(".card", has_text="About").locator(".badge").first).to_have_text("active")
    assert house.chat(key=key)[0] == 200
    page.get_by_role("button", name="Revoke").click()
    accessible(page, "revoke?")
    dialog(page).get_by_role("button", name="Revoke").click()
    expect(page.locator(".card", has_text="About").locator(".badge").first).to_have_text("revoked")
    assert house.chat(key=key)[0] == 401
    expect(page.get_by_role("button", name="Revoke")).to_have_count(0)

    # the playground forgot it at the first reload; pasted anew, it is refused, and who is signed in stays
    go(page, "playground")
    page.get_by_text("Another key", exact=True).click()
    page.get_by_label("Ask with another key").fill(key)
    page.get_by_label("Ask with another key").press("Tab")
    expect(page.get_by_text("The key is not valid.")).to_be_visible()

    # and the trail tells
    go(page, "audit")
    settled(page)
    rows = [row.inner_text() for row in page.locator("tbody tr").all() if HOSTILE in row.inner_text()]
    for action in ("key.create", "key.revoke"):
        assert any(action in row for row in rows), rows
    assert page.evaluate("window.pwned") is None and page.locator("main img").count() == 0
    assert house.send("GET", f"/v1/admin/api-keys/{key_id}", key=house.admin_key)[2]["status"] == "revoked"


def test_rotating_shows_a_new_secret_and_ends_the_old_one(tab, house, admin):
    old, key_id = house.new_key(name="to rotate")
    page = tab()
    sign_in(page, admin[0])
    page.goto(f"/console/#/keys/{key_id}")
    page.get_by_role("button", name="Rotate").click()
    dialog(page).get_by_label("goes on for").select_option("0")
    dialog(page).get_by_role("button", name="Rotate").click()
    secret = dialog(page).get_by_label("API key")
    expect(secret).to_have_value(re.compile(r"^bora_"))
    new = secret.input_value()
    page.keyboard.press("Escape")
    expect(dialog(page).get_by_text("Copy the key first")).to_be_visible()
    dialog(page).get_by_role("button", name="Done").click()
    expect(dialog(page)).to_have_count(0)
    assert new != old and house.chat(key=old)[0] == 401 and house.chat(key=new)[0] == 200


def test_a_second_rotation_within_the_overlap_tells_which_secret_it_ends(tab, house, admin):
    _, key_id = house.new_key(name="to rotate twice")
    page = tab()
    sign_in(page, admin[0])
    page.goto(f"/console/#/keys/{key_id}")
    page.get_by_role("button", name="Rotate").click()
    expect(dialog(page).get_by_label("goes on for")).to_be_visible()
    expect(dialog(page).get_by_text("is refused at once")).to_have_count(0)
    dialog(page).get_by_role("button", name="Rotate").click()
    expect(dialog(page).get_by_label("API key")).to_have_value(re.compile(r"^bora_"))
    dialog(page).get_by_role("button", name="Copy").click()
    dialog(page).get_by_role("button", name="Done").click()
    page.get_by_role("button", name="Rotate").click()
    expect(dialog(page).get_by_text("The secret before the one in use, which was to go on until")).to_be_visible()


def test_search_finds_by_part_of_the_name_and_last_four(tab, house, admin):
    key, _ = house.new_key(name="needle in the hay")
    page = tab()
    sign_in(page, admin[0])
    go(page, "keys")
    for words in ("needle", key[-4:]):
        page.get_by_label("Search").fill(words)
        expect(page.get_by_role("link", name="needle in the hay")).to_be_visible()
    page.get_by_label("Search").fill("no such key anywhere")
    expect(page.get_by_text("No key fits.")).to_be_visible()


# ---- limits, workspaces, organisations -------------------------------------------------------------------------------


def test_limits_of_a_workspace_are_changed_and_seen(tab, house, admin):
    page = tab()
    sign_in(page, admin[0])
    go(page, "workspaces")
    page.get_by_role("button", name="New workspace").first.click()
    dialog(page).get_by_label("Name").fill("console tests")
    dialog(page).get_by_role("button", name="Create workspace").click()
    row = page.locator("tbody tr", has_text="console tests")
    expect(row).to_be_visible()
    page.get_by_role("button", name="New workspace").first.click()
    dialog(page).get_by_label("Name").fill("console tests")
    dialog(page).get_by_role("button", name="Create workspace").click()
    expect(dialog(page).get_by_role("alert")).to_be_visible()  # 409, in the server's words
    page.keyboard.press("Escape")
    row.get_by_role("button", name="Limits").click()
    dialog(page).get_by_label("Tokens per minute", exact=True).first.fill("50k")
    dialog(page).get_by_label("Spend per month").first.fill("12.5")
    dialog(page).get_by_role("button", name="Save").click()
    expect(row).to_contain_text("50k tok/min, €12.50/month")
    go(page, "limits")
    page.get_by_label("Workspace").select_option(label="console tests")
    expect(page.locator(".limit-row", has_text="Tokens per minute")).to_contain_text("0 of 50,000")
    page.get_by_role("button", name="Change limits").click()
    dialog(page).get_by_label("Tokens per minute", exact=True).first.fill("60k")
    dialog(page).get_by_role("button", name="Save").click()
    expect(page.locator(".limit-row", has_text="Tokens per minute")).to_contain_text("0 of 60,000")
    expect(page.locator(".card", has_text=re.compile("Spend of .*console tests"))).to_contain_text("12.50")
    screenshot(page, "limits-workspace")


def test_what_the_server_refuses_is_shown_at_its_place(tab, admin):
    page = tab()
    sign_in(page, admin[0])
    go(page, "keys")
    page.get_by_role("button", name="New key").first.click()
    dialog(page).get_by_text("Limits", exact=True).click()
    dialog(page).get_by_label("Requests per second").fill("1b")  # more than keys.proto allows
    dialog(page).get_by_role("button", name="Create key").click()
    expect(dialog(page).get_by_role("alert")).to_contain_text("limits.requests_per_second")
    accessible(page, "refused by the server")


def test_an_operator_switches_between_organisations(tab, house):
    page = tab()
    sign_in(page, house.admin_key)
    go(page, "organizations")
    page.get_by_role("button", name="New organisation").first.click()
    dialog(page).get_by_label("Name").fill("Elsewhere")
    dialog(page).get_by_role("button", name="Create organisation").click()
    row = page.locator("tbody tr", has_text="Elsewhere")
    row.get_by_role("button", name="Switch to it").click()
    expect(page.locator("main .lead")).to_contain_text("Elsewhere")
    go(page, "keys")
    expect(page.get_by_text("No keys yet.")).to_be_visible()
    go(page, "workspaces")
    expect(page.locator("tbody tr")).to_have_count(1)  # "default"
    page.get_by_label("Organisation").select_option(index=0)
    expect(page.locator("tbody tr", has_text="demo")).to_be_visible()


def test_a_gateway_out_of_reach_is_said_and_tried_again(tab, admin):
    page = tab()
    sign_in(page, admin[0])
    settled(page)
    page.context.set_offline(True)
    page.evaluate("location.hash = '#/audit'")
    expect(page.get_by_role("alert").first).to_contain_text("cannot be reached")
    page.context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("tbody tr").first).to_be_visible()


# ---- the playground --------------------------------------------------------------------------------------------------

SCHEMA = '{"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 1, "maximum": 99}}, "required": ["name", "age"], "additionalProperties": false}'
TOOLS = '[{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 12}}, "required": ["city"], "additionalProperties": false}}}]'


@pytest.fixture
def playground(tab, house):
    page = tab()
    sign_in(page, house.key)
    go(page, "playground")
    expect(page.get_by_label("Model", exact=True)).to_have_value(house.model)
    return page


def ask(page, words):
    answered = page.locator(".turn.assistant .statistics").count()
    page.get_by_label("Your message").fill(words)
    page.get_by_label("Your message").press("Enter")
    expect(page.locator(".turn.assistant .statistics")).to_have_count(answered + 1)


def test_models_and_the_overview_show_what_happens_now(tab, house, admin):
    """Nobody touches the pages meanwhile."""
    models, overview = tab(), tab()
    for page, name in ((models, "models"), (overview, "overview")):
        sign_in(page, admin[0])
        go(page, name)
    output = overview.locator(".card", has_text="Today, UTC").locator(".figures > *", has_text="Output tokens")
    expect(output).to_be_visible()
    before = output.inner_text()
    key, _ = house.new_key()
    answers = []
    asking = threading.Thread(target=lambda: answers.append(house.chat("Count from one to a thousand, in words.", key=key, max_tokens=1500, logit_bias={"0": -100, "2": -100})))
    asking.start()
    try:
        expect(models.locator("table").first).to_contain_text(re.compile(r"1 of \d+"))
        expect(models.locator("table").first).to_contain_text(re.compile(r"[1-9]\d*\.\d"))  # tokens a second
        expect(overview.locator(".card", has_text="Models now")).to_contain_text(re.compile(r"1 of \d+ answers"))
        screenshot(models, "models-under-load")
    finally:
        asking.join()
    assert answers[0][0] == 200
    expect(output).not_to_have_text(before)


def test_playground_shows_what_a_schema_enforces(playground):
    page = playground
    page.get_by_text("Form of the answer").click()
    page.get_by_label("Answer as").select_option("json_schema")
    page.get_by_label("Schema").fill("{")
    page.get_by_label("Your message").fill("Invent a person.")
    page.get_by_label("Your message").press("Enter")
    expect(page.get_by_text("This is no JSON")).to_be_visible()
    page.get_by_label("Schema").fill(SCHEMA)
    ask(page, "Invent a person, as JSON with name and age.")
    expect(page.get_by_text("valid JSON")).to_be_visible()
    expect(page.locator(".turn.assistant .code-block")).to_contain_text('"age"')
    accessible(page, "JSON")


def test_playground_shows_calls_and_takes_their_results(playground):
    page = playground
    page.locator("summary", has_text="Tools").click()
    page.get_by_label("Tools", exact=True).fill(TOOLS)
    page.get_by_label("Which").select_option("required")
    ask(page, "What is the weather in Bern?")
    call = page.locator(".call").first
    expect(call).to_contain_text("get_weather")
    expect(call).to_contain_text('"city"')
    accessible(page, "a call")
    screenshot(page, "playground-call")
    page.get_by_label("Which").select_option("none")
    page.get_by_label("Tokens at most").fill("16")
    for field in page.get_by_label("Result of get_weather").all():
        field.fill('{"celsius": 9}')
    page.get_by_role("button", name="Send results").click()
    expect(page.locator(".turn.assistant .statistics")).to_have_count(2)
    expect(page.locator(".turn.tool").first).to_contain_text("celsius")


def test_playground_stops_and_goes_on(playground, house):
    page = playground
    page.get_by_label("Temperature").fill("0")  # where this model goes on and on
    page.get_by_label("Tokens at most").fill("4000")
    page.get_by_label("Your message").fill("Count from one to a thousand, in words.")
    page.get_by_label("Your message").press("Enter")
    expect(page.locator(".turn.assistant > .prose")).not_to_have_text("")
    assert page.locator(".turn.assistant").get_attribute("aria-busy") == "true"
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".statistics")).to_contain_text("stopped by you")
    until(lambda: house.metric("http", "bora_gateway_requests_running") == 0, "the gateway heard of it")
    page.get_by_label("Tokens at most").fill("8")
    ask(page, "Thanks.")


def test_playground_as_code_runs_and_has_no_key(playground, house):
    page = playground
    page.get_by_label("System prompt").fill("You're \"brief\".")
    page.get_by_label("Temperature").fill("0")
    page.get_by_label("Tokens at most").fill("8")
    page.get_by_label("Your message").fill("It's 5 o'clock; say $HOME.")
    page.get_by_role("button", name="As code").click()
    curl = dialog(page).locator("pre").inner_text()
    dialog(page).get_by_text("Python", exact=True).click()
    python = dialog(page).locator("pre").inner_text()
    assert house.key not in curl + python
    environment = {**os.environ, "BORA_API_KEY": house.key}
    for command in (["sh", "-c", curl + " -sS --fail-with-body"], [sys.executable, "-c", python]):
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and done.stdout.strip() != "", done.stdout + done.stderr


# ---- all pages in all looks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", list(WIDTHS))
def test_every_page_in_every_look(tab, house, admin, width, scheme):
    house.chat()
    page = tab(width, scheme)
    accessible(page, "the door")
    screenshot(page, f"{width}-{scheme}-sign-in")
    sign_in(page, house.admin_key)
    for name in PAGES:
        go(page, name)
        settled(page)
        expect(page.locator("main .notice.bad")).to_have_count(0)
        expect(page.locator("main h1")).to_be_focused()
        accessible(page, name)
        screenshot(page, f"{width}-{scheme}-{name}")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, re.findall(r"\d+", background)[:3])) > 380) == (scheme == "light")


def test_every_page_fits_the_narrowest_screen(tab, house):
    page = tab(320)
    sign_in(page, house.admin_key)
    for name in PAGES:
        go(page, name)
        settled(page)
        fits = "document.documentElement.scrollWidth <= innerWidth"
        until(lambda: page.evaluate(fits), f"{name} fits 320 pixels", 5)  # a chart takes its width a frame after the page has its data


def test_colours_are_chosen_and_kept(tab, admin):
    page = tab(scheme="light")
    sign_in(page, admin[0])
    go(page, "settings")
    page.get_by_text("Dark", exact=True).click()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "dark"
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.get_by_text("As the system", exact=True).click()
    assert page.evaluate("localStorage.length") == 0


def test_charts_are_tables_too(tab, house, admin):
    house.chat()
    page = tab()
    sign_in(page, admin[0])
    go(page, "usage")

    def drawn():
        page.reload()
        settled(page)
        return page.locator(".chart canvas").count() == 1

    until(drawn, "usage is seen")
    page.get_by_role("button", name="Show as a table").click()
    table = page.get_by_role("region", name=re.compile("Tokens by day"))
    expect(table.locator("tbody tr")).to_have_count(30)
    expect(table).to_contain_text(house.model)
    accessible(page, "a chart as a table")
    with page.expect_download() as download:
        page.get_by_role("button", name="Sums as CSV").click()
    text = Path(download.value.path()).read_text()
    assert text.splitlines()[0].startswith("start,") and house.model in text
    with page.expect_download() as download:
        page.get_by_role("button", name="Every answer as JSON lines").click()
    assert '"output_tokens"' in Path(download.value.path()).read_text()


# ---- without a mouse -------------------------------------------------------------------------------------------------


def test_everything_by_keyboard(tab, admin):
    page = tab()
    focused = "document.activeElement.textContent.trim() || document.activeElement.getAttribute('aria-label') || document.activeElement.name"

    def tab_to(words, how="Tab"):
        for _ in range(60):
            page.keyboard.press(how)
            if page.evaluate(focused) == words:
                return
        raise AssertionError(f"{words} cannot be reached by {how}")

    page.keyboard.type(admin[0])  # the field has the focus
    page.keyboard.press("Enter")
    expect(page.locator("main h1")).to_have_text("Overview")
    tab_to("Skip to content", "Shift+Tab")
    expect(page.get_by_text("Skip to content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    tab_to("Keys", "Shift+Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(page.locator("main h1")).to_be_focused()
    tab_to("New key")
    page.keyboard.press("Enter")
    expect(dialog(page)).to_be_visible()
    assert page.evaluate("document.activeElement.closest('dialog') !== null")
    for _ in range(60):  # round and round: what is behind is never reached
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement === document.body || document.activeElement.closest('dialog') !== null")
    page.keyboard.press("Escape")
    expect(dialog(page)).to_have_count(0)
    assert page.evaluate(focused) == "New key"


def test_menu_by_keyboard_on_a_phone(tab, admin):
    page = tab(360)
    sign_in(page, admin[0])
    menu = page.get_by_role("button", name="Menu")
    expect(page.locator("#menu")).to_be_hidden()
    menu.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#menu")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#menu")).to_be_hidden()
    expect(menu).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("link", name="Usage", exact=True).press("Enter")
    expect(page.locator("main h1")).to_have_text("Usage")
    expect(page.locator("#menu")).to_be_hidden()


# ---- what is said of it ----------------------------------------------------------------------------------------------


def test_a_key_ends_with_the_day_that_was_given(tab, house, admin):
    _, key_id = house.new_key(name="last day", expiration="2031-12-31")
    page = tab()
    sign_in(page, admin[0])
    go(page, "keys")
    expect(page.get_by_role("row", name="last day")).to_contain_text("31 Dec 2031")
    page.goto(f"/console/#/keys/{key_id}")
    expect(page.locator(".facts")).to_contain_text("end of 31 Dec 2031, UTC")
    page.get_by_role("button", name="Change", exact=True).click()
    expect(dialog(page).get_by_label("Last day")).to_have_value("2031-12-31")
    dialog(page).get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    assert house.send("GET", f"/v1/admin/api-keys/{key_id}", key=house.admin_key)[2]["expiration_date"].startswith("2032-01-01T00:00:00")


def test_an_answer_says_what_cut_it(tab, house):
    limited, _ = house.new_key(name="ninety tokens", limits={"tokens_per_minute": 90})
    page = tab()
    for key, tokens, words in ((limited, "", "cut: a limit leaves no more tokens"), (house.key, "8", "cut: tokens at most reached")):
        page.goto("/console/#/")
        page.reload()
        if page.get_by_role("button", name="Sign out").count() > 0:
            page.get_by_role("button", name="Sign out").click()
        sign_in(page, key)
        go(page, "playground")
        expect(page.get_by_label("Model", exact=True)).to_have_value(house.model)
        page.get_by_label("Tokens at most").fill(tokens)
        page.get_by_label("Your message").fill("Write a very long story about the sea.")
        page.get_by_label("Your message").press("Enter")
        expect(page.locator(".turn.assistant .statistics")).to_contain_text(words)


def test_what_is_older_is_called_so(tab, admin):
    page = tab()
    sign_in(page, admin[0])
    go(page, "models")
    expect(page.locator("main")).to_contain_text("Runs on")
    page.route("**/v1/admin/workers*", lambda route: route.abort())
    expect(page.locator("main .notice")).to_contain_text("What is below is older.")
    expect(page.locator("main")).to_contain_text("Runs on")
    page.unroute("**/v1/admin/workers*")
    expect(page.locator("main .notice")).to_be_hidden()


def test_no_table_is_wider_than_its_card(tab, house, admin):
    """Between a phone and a wide screen, too, where the menu takes room."""
    house.new_key(name="a name that is as long as names of nightly jobs are", limits={"requests_per_minute": 600, "tokens_per_day": 1_500_000}, expiration="2031-12-31")
    for width in (840, 960, 1024, 1100, 1200):
        page = tab(width)
        sign_in(page, admin[0])
        for name in ("keys", "workspaces", "audit", "models", "usage"):
            go(page, name)
            settled(page)
            wider = page.evaluate("[...document.querySelectorAll('main table')].filter((t) => t.scrollWidth > t.parentElement.clientWidth).length")
            assert wider == 0, (width, name)


def test_the_operator_is_led_to_the_key_that_the_playground_needs(tab, house):
    page = tab(360)
    sign_in(page, house.admin_key)
    go(page, "playground")
    page.get_by_label("Your message").fill("hi")
    page.get_by_label("Your message").press("Enter")
    expect(page.get_by_label("Key to ask with")).to_be_focused()  # in settings that were folded
    expect(page.get_by_text("Paste a key that may ask models.")).to_be_visible()


def test_names_without_a_space_are_broken_and_nothing_is_pushed_away(tab, house):
    """The longest names that are taken, of whatever has one: what stands beside them stays on the screen."""
    limits = {"requests_per_minute": 100_000, "tokens_per_day": 1_000_000_000}
    status, _, place = house.send("POST", "/v1/admin/workspaces", {"name": "M" * 64, "limits": limits, "key_limits": limits}, key=house.admin_key)
    assert status == 200
    assert house.send("POST", "/v1/admin/organizations", {"name": "O" * 64, "limits": limits}, key=house.admin_key)[0] == 200
    _, key_id = house.new_key(name="W" * 255, workspace_uuid=place["id"], user_id="U" * 64, expiration="2031-12-31", model_limits=[{"model": "m" * 128, "limits": limits}], scopes={"models": ["s" * 128]})
    too_wide = """() => [...document.querySelectorAll('main table, main h1, main h2, main h3, main .card, main .cell, main dd')]
        .filter((e) => e.getBoundingClientRect().right > Math.min(innerWidth, e.closest('.card')?.getBoundingClientRect().right ?? innerWidth) + 1).map((e) => e.tagName + ' ' + e.className + ' ' + e.textContent.slice(0, 40))"""
    for width in (360, 840, 1024, 1280):
        page = tab(width)
        sign_in(page, house.admin_key)
        for name in ("keys", "limits", "usage", "models", "workspaces", "organizations", "audit", f"keys/{key_id}"):
            page.goto(f"/console/#/{name}")
            expect(page.locator("main h1")).to_have_text(PAGES.get(name, "W" * 255))
            settled(page)
            until(lambda: page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} fits {width} pixels", 5)
            assert page.evaluate(too_wide) == [], (width, name)


def test_what_is_rare_is_found_however_far_down(tab, house):
    """Where none of a kind, or of a status, is on the first page, those that come later are shown, and a page that has none is no empty table."""
    status, _, place = house.send("POST", "/v1/admin/organizations", {"name": "of rare acts"}, key=house.admin_key)
    assert status == 200
    workspace = next(w["id"] for w in house.send("GET", f"/v1/admin/workspaces?organization_id={place['id']}", key=house.admin_key)[2]["workspaces"])
    key = house.new_key(name="rare", role="admin", workspace_uuid=workspace)
    keys = [house.new_key(name=f"of many {i}", workspace_uuid=workspace) for i in range(60)]
    house.revoke(keys[-1][1])
    page = tab()
    sign_in(page, key[0])
    go(page, "audit")
    settled(page)
    expect(page.locator("tbody tr")).to_have_count(50)
    page.get_by_label("Show").select_option(label="Workspaces")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_text("workspace.create")).to_be_visible()
    page.get_by_label("Show").select_option(label="Prices")
    expect(page.get_by_text("None of that kind.")).to_be_visible()
    go(page, "keys")
    page.get_by_label("Status").select_option("revoked")
    expect(page.locator("tbody tr")).to_have_count(1)
    expect(page.get_by_role("link", name="of many 59")).to_be_visible()
    page.get_by_label("Status").select_option("disabled")
    expect(page.get_by_text("No key fits.")).to_be_visible()
    page.get_by_label("Status").select_option("")
    expect(page.locator("tbody tr")).to_have_count(50)
    page.get_by_role("button", name="Load more").press("Enter")
    expect(page.locator("tbody tr")).to_have_count(61)
    expect(page.locator("tbody tr").nth(50)).to_be_focused()  # where the new ones begin


def test_amounts_have_the_currency_of_the_prices(tab, house):
    """A limit of 25 dollars is not one of 25 euros: in lists, in the limits now, and beside the field."""
    key, key_id = house.new_key(name="in dollars", role="member", limits={"spend_per_month": 25})

    def in_dollars(route):
        answer = route.fetch()
        route.fulfill(response=answer, json={**answer.json(), "currency": "USD"})

    for who, places in ((house.admin_key, ("keys", f"keys/{key_id}")), (key, ("limits",))):
        page = tab()
        page.route("**/v1/admin/prices", in_dollars)  # once something was charged, the house's own currency stays
        sign_in(page, who)
        for name in places:
            page.goto(f"/console/#/{name}")
            settled(page)
            expect(page.locator("tr", has_text="in dollars") if name == "keys" else page.locator(".limit-row", has_text="Spend per month")).to_contain_text("US$25.00")
            assert "€" not in page.locator(".limit-rows, tbody").first.inner_text()
    page = tab()
    page.route("**/v1/admin/prices", in_dollars)
    sign_in(page, house.admin_key)
    page.goto(f"/console/#/keys/{key_id}")
    page.get_by_role("button", name="Change", exact=True).click()
    expect(dialog(page).get_by_label("Spend per month, USD")).to_have_value("25")


def test_a_comma_never_makes_a_limit_ten_times_as_large(tab, admin):
    page = tab()
    sign_in(page, admin[0])
    go(page, "keys")
    page.get_by_role("button", name="New key").first.click()
    dialog(page).get_by_label("Name").fill("commas")
    dialog(page).get_by_text("Limits", exact=True).click()
    for label, refused, taken in (("Spend per month", ("0,5", "12,50", "1,5"), "1,250.50"), ("Tokens per day", ("1,5m", "0,500", "12,34"), "1,500,000")):
        one = dialog(page).get_by_label(label).first
        for text in refused:
            one.fill(text)
            dialog(page).get_by_role("button", name="Create key").click()
            expect(one).to_have_attribute("aria-invalid", "true")
            expect(one).to_be_focused()
        one.fill(taken)
    dialog(page).get_by_role("button", name="Create key").click()
    dialog(page).get_by_role("button", name="Done").click()
    expect(page.get_by_role("row", name="commas")).to_contain_text("1.5M tok/day, €1,250.50/month")
    page.get_by_role("link", name="commas").click()
    page.get_by_role("button", name="Change", exact=True).click()
    expect(dialog(page).get_by_label("Tokens per day").first).to_have_value("1,500,000")
    dialog(page).get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    expect(page.locator(".limit-row", has_text="Tokens per day")).to_contain_text("of 1.5M")
    go(page, "playground")
    page.get_by_label("Temperature").fill("0,7")
    page.get_by_label("Your message").fill("hi")
    page.get_by_label("Your message").press("Enter")
    expect(page.get_by_text("such as 7 or 0.7, with a point")).to_be_visible()


def test_a_secret_is_shown_though_its_dialog_was_closed_too_soon(tab, house, admin):
    """Escape while the key is being made: it exists, so its secret is shown, or nobody would ever see it."""
    page = tab()
    sign_in(page, admin[0])
    go(page, "keys")
    held = []
    page.route("**/v1/admin/api-keys", lambda route: held.append(route) if route.request.method == "POST" else route.continue_())
    page.get_by_role("button", name="New key").first.click()
    dialog(page).get_by_label("Name").fill("in a hurry")
    dialog(page).get_by_role("button", name="Create key").click()
    until(lambda: page.evaluate("1") and held, "the request is on its way")
    page.keyboard.press("Escape")
    expect(dialog(page)).to_have_count(0)
    held[0].continue_()
    expect(dialog(page).get_by_label("API key")).to_have_value(re.compile(r"^bora_"))
    key = dialog(page).get_by_label("API key").input_value()
    dialog(page).get_by_role("button", name="Done").click()
    expect(page.get_by_role("link", name="in a hurry")).to_be_visible()
    assert house.send("GET", "/v1/users/me", key=key)[0] == 200


def test_the_focus_comes_back_to_the_row_that_was_changed(tab, house):
    status, _, place = house.send("POST", "/v1/admin/workspaces", {"name": "by keyboard"}, key=house.admin_key)
    assert status == 200
    page = tab()
    sign_in(page, house.admin_key)
    go(page, "workspaces")
    button = lambda words: page.get_by_role("button", name=f"{words}: by keyboard")
    for words, then in (("Disable", "Enable"), ("Enable", "Disable")):
        button(words).press("Enter")
        if words == "Disable":
            dialog(page).get_by_role("button", name="Disable").press("Enter")
        expect(button(then)).to_be_focused()
    button("Rename").press("Enter")
    dialog(page).get_by_label("Name").fill("by keyboard alone")
    dialog(page).get_by_label("Name").press("Enter")
    expect(page.get_by_role("button", name="Rename: by keyboard alone")).to_be_focused()
    page.get_by_role("button", name="Delete: by keyboard alone").press("Enter")
    dialog(page).get_by_role("button", name="Delete").press("Enter")
    expect(page.get_by_role("button", name="Delete: by keyboard alone")).to_have_count(0)
    expect(page.locator("main h1")).to_be_focused()
    go(page, "limits")
    page.get_by_label("Workspace").select_option(label="demo")
    page.get_by_label("Workspace").focus()
    expect(page.get_by_label("Key", exact=True)).to_be_visible()
    expect(page.get_by_label("Workspace")).to_be_focused()


def test_a_new_key_is_of_the_workspace_that_is_looked_at(tab, house, admin):
    status, _, place = house.send("POST", "/v1/admin/workspaces", {"name": "looked at"}, key=house.admin_key)
    assert status == 200
    page = tab()
    sign_in(page, admin[0])
    page.goto(f"/console/#/keys?workspace={place['id']}")
    page.get_by_role("button", name="New key").first.click()
    expect(dialog(page).get_by_label("Workspace")).to_have_value(place["id"])


def test_every_key_of_a_workspace_can_be_chosen(tab, house, admin):
    status, _, place = house.send("POST", "/v1/admin/workspaces", {"name": "of many keys"}, key=house.admin_key)
    assert status == 200
    for i in range(205):
        house.new_key(name=f"one of many {i:03}", workspace_uuid=place["id"])
    page = tab()
    sign_in(page, admin[0])
    page.goto(f"/console/#/limits?workspace={place['id']}")
    expect(page.get_by_label("Key", exact=True).locator("option")).to_have_count(206)


def test_a_role_is_told_whose_usage_it_sees(tab, house, admin):
    status, _, place = house.send("POST", "/v1/admin/workspaces", {"name": "of one's own"}, key=house.admin_key)
    assert status == 200
    for role, words in (("service", "with this key"), ("member", "of one's own"), ("admin", "default")):
        page = tab()
        sign_in(page, house.new_key(name=f"told {role}", role=role, workspace_uuid=place["id"])[0])
        expect(page.locator("main .lead")).to_contain_text(words)
        go(page, "usage")
        expect(page.locator("main .lead")).to_contain_text(words)


def test_what_is_copied_is_said_within_the_dialog(tab, house, admin):
    """What is behind a dialog is silent for who hears the page."""
    _, key_id = house.new_key(name="copied")
    page = tab(permissions=["clipboard-write"])
    sign_in(page, admin[0])
    page.goto(f"/console/#/keys/{key_id}")
    page.get_by_role("button", name="Rotate").click()
    dialog(page).get_by_role("button", name="Rotate").click()
    dialog(page).get_by_role("button", name="Copy the key").click()
    expect(dialog(page).locator("[aria-live=polite]", has_text="Copied.")).to_have_count(1)


def test_times_say_their_zone(tab, house, admin):
    page = tab(timezone_id="Asia/Kolkata")
    sign_in(page, admin[0])
    go(page, "audit")
    settled(page)
    when = page.locator("tbody time").first
    expect(when).to_have_text(re.compile(r"GMT\+5:30$"))


def test_a_new_key_stands_first(tab, house, admin):
    """Keys are listed oldest first: among many, the one that was just made would be pages away."""
    status, _, place = house.send("POST", "/v1/admin/workspaces", {"name": "of older keys"}, key=house.admin_key)
    assert status == 200
    for i in range(51):
        house.new_key(name=f"older {i}", workspace_uuid=place["id"])
    page = tab()
    sign_in(page, admin[0])
    page.goto(f"/console/#/keys?workspace={place['id']}")
    page.get_by_role("button", name="New key").first.click()
    dialog(page).get_by_label("Name").fill("the newest")
    dialog(page).get_by_role("button", name="Create key").click()
    dialog(page).get_by_role("button", name="Done").click()
    expect(page.locator("tbody tr").first).to_contain_text("the newest")
    page.get_by_role("button", name="Load more").click()
    expect(page.locator("tbody tr")).to_have_count(52)
    expect(page.get_by_role("link", name="the newest")).to_have_count(1)


def test_a_key_that_is_not_there_has_a_page_that_says_so(tab, admin):
    page = tab()
    sign_in(page, admin[0])
    page.goto("/console/#/keys/nothing")
    expect(page.locator("main h1")).to_have_text("There is no such key")
    expect(page.locator("main h1")).to_be_focused()
    expect(page.get_by_role("link", name="All keys")).to_be_visible()


def test_a_long_wait_is_told_in_hours(tab, house):
    key, _ = house.new_key(name="a day's worth", limits={"tokens_per_day": 1})
    page = tab()
    sign_in(page, key)
    go(page, "playground")
    expect(page.get_by_label("Model", exact=True)).to_have_value(house.model)
    page.get_by_label("Your message").fill("hi")
    page.route("**/v1/chat/completions", lambda route: route.fulfill(status=429, headers={"retry-after": "83988"}, json={"message": "Rate limit exceeded"}))
    page.get_by_label("Your message").press("Enter")
    expect(page.get_by_text("Try again in 23 h 20 min.")).to_be_visible()


def test_forced_colours_hide_nothing(tab, house, admin):
    """Where the system's colours replace all backgrounds, the page that is shown, what is chosen and how much is used can still be seen."""
    _, key_id = house.new_key(name="in forced colours", limits={"requests_per_minute": 10})
    page = tab(forced_colors="active")
    sign_in(page, admin[0])
    page.goto(f"/console/#/keys/{key_id}")
    expect(page.locator(".meter").first).to_be_visible()
    style = lambda selector, name: page.evaluate("([s, n]) => getComputedStyle(document.querySelector(s))[n]", [selector, name])
    assert style(".meter", "borderTopStyle") == "solid" and style(".badge", "borderTopStyle") == "solid"
    assert style("#menu [aria-current=page]", "outlineStyle") == "solid"
    go(page, "settings")
    assert style(".segments input:checked + label", "outlineStyle") == "solid" and style(".segments input:not(:checked) + label", "outlineStyle") == "none"


def test_small_spend_fills_its_chart(tab, house, admin):
    """Of amounts below one, too, the axis ends a little above the highest bar: not at a whole unit of the currency, under which nothing is seen."""
    house.chat()
    page = tab()

    def cheap(route):
        answer = route.fetch()
        usage = answer.json()
        for row in usage["rows"]:
            row["cost"] = 0.0004 / len(usage["rows"])
        route.fulfill(response=answer, json=usage)

    page.route("**/v1/admin/usage?*", cheap)
    sign_in(page, admin[0])

    def drawn():
        go(page, "usage")
        page.reload()
        settled(page)
        return page.locator(".chart canvas").count() == 1

    until(drawn, "usage is seen")
    tops = lambda: page.evaluate("globalThis.Chart?.getChart(document.querySelector('.chart canvas'))?.scales.y.max")
    page.locator(".segments label", has_text="Spend").click()
    until(lambda: (tops() or 1) < 0.001, "the axis fits the amounts", 5)
    page.locator(".segments label", has_text="Requests").click()
    until(lambda: (tops() or 0) >= 1, "the axis of counts is of whole numbers", 5)


def test_audit_shows_what_differs(tab, house, admin):
    """Of nine limits of which one was changed, that one; scalars and lists before and behind; the ends of keys as times."""
    _, key_id = house.new_key(name="changed a little", limits={"requests_per_minute": 30, "tokens_per_day": 200_000}, model_limits=[{"model": "small", "limits": {"tokens_per_minute": 7, "tokens_per_day": 70}}])
    changes = {"name": "changed at last", "limits": {"requests_per_minute": 45, "tokens_per_day": 200_000}, "model_limits": [{"model": "small", "limits": {"tokens_per_minute": 8, "tokens_per_day": 70}}], "expiration": "2031-12-31", "scopes": {"models": ["small"]}}
    assert house.send("PATCH", f"/v1/admin/api-keys/{key_id}", changes, key=house.admin_key)[0] == 200
    page = tab()
    sign_in(page, admin[0])
    go(page, "audit")
    settled(page)
    row = page.locator("tbody tr", has_text="key.update").filter(has_text="changed at last").first
    row.locator("summary").click()
    lines = [" ".join(line.inner_text().split()) for line in row.locator(".change").all()]
    for line in ("name changed a little changed at last", "limits: requests_per_minute 30 45", "expires_at nothing 2032-01-01T00:00:00.000Z", 'models [] ["small"]'):
        assert line in lines, lines
    assert any(line.endswith("small: tokens_per_minute 7 8") for line in lines), lines
    assert not any("tokens_per_day" in line for line in lines), lines
