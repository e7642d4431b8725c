# Copyright Bora contributors
# SPDX-License-Identifier: Apache-2.0
"""What the gateway asks of a worker, and what it makes of the answers: a scripted worker beside the house's own."""
import subprocess

import grpc
import openai
import pytest

from conftest import BUILD, ROOT, error_detail, free_ports, until
from scripted_worker import LinkToWorker, Refusal, ScriptedWorker


@pytest.fixture(scope="module", params=[False, True], ids=["counted", "bound"])
def worker(request, house, tmp_path_factory):
    """One whose tokens are counted before the limits are asked, and one that is trusted with an upper bound: clients see no difference."""
    worker = ScriptedWorker(house, tmp_path_factory.mktemp("worker_protocol"), bound=request.param)
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    until(lambda: ask(house, worker)[0] == 200, "the gateway knows the scripted worker")
    yield worker
    worker.stop()


def ask(house, worker, key=None, **fields):
    return house.chat(key=key, **{"model": worker.MODEL, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 20, **fields})


# ---- settings ----


def test_every_setting_reaches_the_worker(house, worker):
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    status, _, body = ask(house, worker, temperature=0.7, top_p=0.9, top_k=40, min_p=0.05, typical_p=0.8, repetition_penalty=1.2, presence_penalty=-0.5, frequency_penalty=0.5, random_seed=11, logit_bias={"5": -3})
    assert status == 200, body
    sampling = worker.starts[0].sampling
    assert (sampling.temperature, sampling.top_p, sampling.top_k, sampling.min_p, sampling.typical_p) == (0.7, 0.9, 40, 0.05, 0.8)
    assert (sampling.repetition_penalty, sampling.presence_penalty, sampling.frequency_penalty, sampling.seed) == (1.2, -0.5, 0.5, 11)
    assert (list(sampling.logit_bias_ids), list(sampling.logit_bias_values), sampling.top_logprobs) == ([5], [-3], -1)
    assert not worker.starts[0].HasField("beam")


@pytest.mark.parametrize("fields", [{}, {"top_k": -1}, {"top_k": 0, "min_p": 0, "typical_p": None, "repetition_penalty": None, "best_of": None, "use_beam_search": None}])
def test_absent_and_off_are_zero(house, worker, fields):
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    assert ask(house, worker, **fields)[0] == 200
    sampling = worker.starts[0].sampling
    assert (sampling.top_k, sampling.min_p, sampling.typical_p, sampling.repetition_penalty) == (0, 0, 0, 0)


# ---- tenants ----


def test_the_tenant_is_the_keys_and_nothing_in_the_body_changes_it(house, worker):
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    named, _ = house.new_key(tenant="acme")
    other, _ = house.new_key(tenant="acme")
    plain, _ = house.new_key()
    for key in (named, other, plain):
        assert ask(house, worker, key=key, user="acme2", prompt_cache_key="acme3", metadata={"tenant": "acme4"}, safety_identifier="acme5")[0] == 200
    tenants = [start.tenant for start in worker.starts]
    assert tenants[0] == tenants[1] != tenants[2] and not {"acme2", "acme3", "acme4", "acme5"} & set(tenants)
    for name in ("tenant", "cache_salt", "priority"):
        status, _, body = ask(house, worker, **{name: "acme"})
        assert status == 422 and body["detail"][0]["type"] == "extra_forbidden" and body["detail"][0]["loc"] == ["body", name]


# ---- limits ----


def test_a_key_without_room_reaches_no_worker(house, worker):
    """Nobody counts the tokens of a prompt that cannot pass anyhow."""
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    spent, _ = house.new_key(limits={"tokens_per_minute": 11})
    once, _ = house.new_key(limits={"requests_per_minute": 1})
    revoked, revoked_id = house.new_key()
    assert [ask(house, worker, key=key, max_tokens=1)[0] for key in (spent, once, revoked)] == [200, 200, 200]
    house.revoke(revoked_id)
    closed, _ = house.new_key(limits={"requests_per_minute": 0})
    for key, expected in ((spent, 429), (once, 429), (closed, 429), (revoked, 401)):
        assert ask(house, worker, key=key, max_tokens=1)[0] == expected
    assert len(worker.starts) == 3


def test_without_max_tokens_the_worker_is_told_what_remains(house, worker):
    worker.reset(lambda start, index: worker.text("ok", [-1, -1]))
    key, _ = house.new_key(limits={"tokens_per_minute": 101})
    status, headers, _ = ask(house, worker, key=key, max_tokens=None, n=2)
    assert status == 200 and headers["x-ratelimit-tokens-query-cost"] == "101"
    assert [proceed.max_tokens for proceed in worker.proceeds] == [45, 45]
    until(lambda: house.metric("http", "bora_gateway_requests_running") == 0, "it has settled")
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    for fields, bound in (({"max_tokens": 20}, 0), ({"max_tokens": None}, 101 - 14 - 11 - 10)):
        assert ask(house, worker, key=key, **fields)[0] == 200
        assert worker.proceeds[-1].max_tokens == bound
        until(lambda: house.metric("http", "bora_gateway_requests_running") == 0, "it has settled")


def test_no_tokens_need_no_room_beside_the_prompts(house, worker):
    worker.reset(lambda start, index: worker.text("", []))
    key, _ = house.new_key(limits={"tokens_per_minute": worker.PROMPT_TOKENS})
    assert [ask(house, worker, key=key, max_tokens=0, n=16)[0] for _ in range(2)] == [200, 429]


def test_what_one_answer_was_given_before_another_was_refused_is_counted(house, worker):
    def script(start, index):
        if index == 0:
            raise worker.full()
        assert worker.generations[1].stopped.wait(60)
        yield worker.pb.Delta(text=b"abc", completion_tokens=3)
        yield worker.pb.Finished(reason=worker.pb.Finished.REASON_CANCELLED, prompt_tokens=worker.PROMPT_TOKENS, completion_tokens=3)

    worker.reset(script)
    worker.stops = False
    key, key_id = house.new_key()
    assert ask(house, worker, key=key, n=2)[0] == 429
    path = f"/v1/admin/usage/ledger?key_id={key_id}"
    until(lambda: house.send("GET", path, key=house.admin_key)[2]["entries"], "it is in the ledger")
    entries = house.send("GET", path, key=house.admin_key)[2]["entries"]
    assert [(e["input_tokens"], e["output_tokens"]) for e in entries] == [(worker.PROMPT_TOKENS, 3)]


def test_a_refusal_that_the_limits_have_yet_to_count_is_still_the_answer(house, worker):
    """The other generations are stopped meanwhile, and their ends come first."""
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    worker.refusals = {0: grpc.StatusCode.INVALID_ARGUMENT}
    worker.redis.command("CLIENT", "PAUSE", 250, "ALL")  # less than the gateway waits for Redis
    status, _, body = ask(house, worker, n=3)
    assert (status, body["type"], body["message"]) == (400, "invalid_request_error", "not now")
    until(lambda: house.metric("http", "bora_gateway_requests_running") == 0, "it has settled")


@pytest.mark.parametrize("code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND])
def test_a_start_that_is_lost_is_tried_again_once_and_counts_once(house, worker, code):
    key, _ = house.new_key(limits={"requests_per_minute": 3, "tokens_per_minute": 1000})
    for refused, expected, left in ({0}, 200, "2"), ({0, 1}, 503, None), (set(), 200, "1"):
        worker.reset(lambda start, index: worker.text("ok", [-1]))
        worker.refusals = dict.fromkeys(refused, code)
        status, headers, body = ask(house, worker, key=key)
        assert (status, headers.get("x-ratelimit-remaining-req-minute"), worker.count) == (expected, left, min(len(refused) + 1, 2)), body


def test_a_worker_that_cannot_be_reached_takes_no_requests_from_another(house, worker):
    """It announces itself, and does nothing, so it looks like the one with the least to do."""
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    (closed,) = free_ports(1)
    worker.announce(worker_id="elsewhere", address=f"127.0.0.1:{closed}")
    worker.redis.command("ZADD", "bora:workers", 10**15, "elsewhere")
    try:
        until(lambda: sum(w["model"] == worker.MODEL for w in house.send("GET", "/v1/admin/workers", key=house.admin_key)[2]["workers"]) == 2, "the gateway knows both")
        answers = [ask(house, worker)[0] for _ in range(20)]
    finally:
        worker.redis.command("ZREM", "bora:workers", "elsewhere")
    assert answers == [200] * 20


# ---- priority ----


@pytest.mark.parametrize("tier, priority", [(None, 0), ("auto", 0), ("default", 0), ("priority", 1), ("flex", -1)])
def test_the_service_tier_is_a_priority_among_the_tenants_own(house, worker, tier, priority):
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    status, _, body = ask(house, worker, service_tier=tier)
    assert status == 200, body
    assert worker.starts[0].priority == priority


# ---- best_of ----

CANDIDATES = [("a", [-3, -1]), ("b", [-0.5, -0.5, -4]), ("c", [-1, -1]), ("d", [-0.9])]  # means -2, -1.67, -1, -0.9


def candidates(worker):
    """By seed, for calls come in any order: the first candidate has the client's own."""
    seen = {}

    def script(start, index):
        with worker.mutex:
            place = seen.setdefault(start.sampling.seed, len(seen))
        yield from worker.text(*CANDIDATES[place])

    return script


def test_best_of_answers_with_the_highest_mean(house, worker):
    worker.reset(candidates(worker))
    status, _, body = ask(house, worker, best_of=4, n=2, temperature=1, seed=5)
    assert status == 200, body
    assert [(c["index"], c["message"]["content"]) for c in body["choices"]] == [(0, "d"), (1, "c")]
    assert all("logprobs" not in c for c in body["choices"])
    assert body["usage"] == {"prompt_tokens": 10, "completion_tokens": 8, "total_tokens": 18}
    seeds = {start.sampling.seed for start in worker.starts}
    assert len(seeds) == 4 and 5 in seeds and all(start.sampling.top_logprobs == 0 for start in worker.starts)


def test_best_of_returns_the_log_probabilities_of_its_choice(house, worker):
    worker.reset(candidates(worker))
    status, _, body = ask(house, worker, best_of=4, temperature=1, logprobs=True)
    assert status == 200, body
    assert [t["logprob"] for t in body["choices"][0]["logprobs"]["content"]] == pytest.approx([-0.9])


def test_best_of_like_n_is_n(house, worker):
    worker.reset(candidates(worker))
    status, _, body = ask(house, worker, best_of=4, n=4, temperature=1)
    assert status == 200 and sorted(c["message"]["content"] for c in body["choices"]) == ["a", "b", "c", "d"]
    assert [c["index"] for c in body["choices"]] == [0, 1, 2, 3]
    assert all(start.sampling.top_logprobs == -1 for start in worker.starts)


def test_best_of_without_tokens_loses(house, worker):
    def script(start, index):
        yield from worker.text("" if index == 0 else "something", [] if index == 0 else [-50])

    worker.reset(script)
    status, _, body = ask(house, worker, best_of=2)
    assert status == 200 and body["choices"][0]["message"]["content"] == "something"


def test_best_of_reserves_for_every_candidate(house, worker):
    worker.reset(candidates(worker))
    key, _ = house.new_key(limits={"tokens_per_minute": 1000})
    status, headers, _ = ask(house, worker, key=key, best_of=4, max_tokens=100)
    assert status == 200 and int(headers["x-ratelimit-tokens-query-cost"]) == 10 + 400
    assert ask(house, worker, key=key, best_of=10, max_tokens=100)[0] == 429


# ---- beam search ----


def test_beam_search_is_one_call_with_several_answers(house, worker):
    def script(start, index):
        for answer, (text, logprobs) in enumerate(CANDIDATES[:3]):
            yield from worker.text(text, logprobs, answer)

    worker.reset(script)
    status, _, body = ask(house, worker, use_beam_search=True, best_of=6, n=3, length_penalty=0.5, early_stopping=True)
    assert status == 200, body
    assert [(c["index"], c["message"]["content"]) for c in body["choices"]] == [(0, "a"), (1, "b"), (2, "c")]
    assert body["usage"]["completion_tokens"] == 7
    assert len(worker.starts) == 1
    beam = worker.starts[0].beam
    assert (beam.width, beam.answers, beam.length_penalty, beam.early_stopping) == (6, 3, 0.5, True)
    assert worker.starts[0].sampling.temperature == 0


def test_beam_width_is_n_without_best_of(house, worker):
    worker.reset(lambda start, index: (event for answer in range(4) for event in worker.text("x", [-1], answer)))
    status, _, body = ask(house, worker, use_beam_search=True, n=4)
    assert status == 200 and len(body["choices"]) == 4
    assert (worker.starts[0].beam.width, worker.starts[0].beam.answers, worker.starts[0].beam.length_penalty) == (4, 4, 1)


def test_beam_search_that_ends_early_is_an_error_not_half_an_answer(house, worker):
    worker.reset(lambda start, index: worker.text("only one", [-1]))
    assert ask(house, worker, use_beam_search=True, n=2)[0] == 503


def test_a_worker_without_beam_search_is_a_400_that_costs_nothing(house, worker):
    def script(start, index):
        raise Refusal(grpc.StatusCode.UNIMPLEMENTED, "no beams")
        yield

    worker.reset(script)
    key, _ = house.new_key(limits={"tokens_per_minute": 1000})
    for _ in range(3):  # each reserves 910
        status, _, body = ask(house, worker, key=key, use_beam_search=True, best_of=2, max_tokens=900)
        assert (status, body["param"]) == (400, "use_beam_search"), body


# ---- a full queue ----


@pytest.mark.parametrize("milliseconds, seconds", [(2500, "3"), (1, "1"), (None, "1")])
def test_a_full_queue_is_429_with_the_workers_hint(house, worker, milliseconds, seconds):
    def script(start, index):
        raise worker.full(milliseconds)
        yield

    worker.reset(script)
    key, _ = house.new_key(limits={"tokens_per_minute": 1000})
    for stream in (False, True):
        for _ in range(2):  # a refusal costs nothing: each reserves 910
            status, headers, body = ask(house, worker, key=key, max_tokens=900, stream=stream)
            assert (status, body["code"], body["type"]) == (429, "3505", "service_tier_capacity_exceeded"), body
            assert body["message"] == "Service tier capacity exceeded for this model." and headers["retry-after"] == seconds


def test_a_full_queue_by_grpc_keeps_its_status_and_hint(house, worker, grpc_modules):
    def script(start, index):
        raise worker.full(2500)
        yield

    worker.reset(script)
    with grpc.insecure_channel(f"127.0.0.1:{house.ports['grpc']}") as channel:
        stub = grpc_modules.chat_grpc.ChatServiceStub(channel)
        request = grpc_modules.chat.ChatCompletionRequest(model=worker.MODEL, messages=[grpc_modules.chat.ChatMessage(user=grpc_modules.chat.UserMessage(content=grpc_modules.chat.Content(text="Hi")))], max_tokens=5)
        with pytest.raises(grpc.RpcError) as caught:
            stub.CompleteChat(request, metadata=[("authorization", f"Bearer {house.key}")])
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error_detail(grpc_modules, caught.value).retry_after_ms == 2500


def test_public_clients_see_a_rate_limit(house, worker):
    def script(start, index):
        raise worker.full(1500)
        yield

    worker.reset(script)
    client = openai.OpenAI(base_url=house.base + "/v1", api_key=house.key, max_retries=0)
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model=worker.MODEL, messages=[{"role": "user", "content": "Hi"}])
    assert caught.value.response.headers["retry-after"] == "2"


def test_a_client_that_retries_gets_through(house, worker):
    """The public client's own retries, by our Retry-After."""

    def script(start, index):
        if index == 0:
            raise worker.full(200)
        yield from worker.text("there", [-1])

    worker.reset(script)
    client = openai.OpenAI(base_url=house.base + "/v1", api_key=house.key, max_retries=2)
    answer = client.chat.completions.create(model=worker.MODEL, messages=[{"role": "user", "content": "Hi"}])
    assert answer.choices[0].message.content == "there" and worker.count == 2


# ---- pieces that do not fit ----


def wide(worker, deltas, tokens, count=20, size=200):
    """Log-probabilities with `count` alternatives of `size` bytes, five times as many as the public interface shows them."""
    alternatives = [worker.pb.Alternative(token=b"x" * size, logprob=-2) for _ in range(count)]
    token = worker.pb.TokenLogprob(token=b"t", logprob=-1, alternatives=alternatives)
    for i in range(deltas):
        yield worker.pb.Delta(text=b"t" * tokens, token_ids=[1] * tokens, logprobs=[token] * tokens, completion_tokens=(i + 1) * tokens)
    yield worker.pb.Finished(prompt_tokens=worker.PROMPT_TOKENS, completion_tokens=deltas * tokens)


def test_log_probabilities_that_do_not_fit_are_an_error_not_left_out(house, worker):
    worker.reset(lambda start, index: wide(worker, 100, 10, count=1, size=16000))  # 80 MB
    status, _, body = ask(house, worker, logprobs=True, top_logprobs=20)
    assert status == 500 and "stream it" in body["message"], status
    worker.reset(lambda start, index: wide(worker, 1, 2))
    status, _, body = ask(house, worker, logprobs=True, top_logprobs=20)
    assert status == 200 and [len(t["top_logprobs"]) for t in body["choices"][0]["logprobs"]["content"]] == [20, 20]


def test_streamed_log_probabilities_that_do_not_fit_end_the_stream(house, worker):
    def script(start, index):
        yield next(wide(worker, 1, 1))
        yield from wide(worker, 1, 1000)

    worker.reset(script)
    status, _, text = ask(house, worker, logprobs=True, top_logprobs=20, stream=True)
    assert status == 200 and '"finish_reason":"error"' in text and '"finish_reason":"stop"' not in text


def test_a_clients_own_mistake_is_no_warning(house, worker):
    def script(start, index):
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, "a setting is out of range")
        yield

    worker.reset(script)
    assert ask(house, worker)[0] == 400
    line = until(lambda: next((line for line in house.log("gateway").splitlines() if "a setting is out of range" in line), None), "it is in the log")
    assert '"level":"info"' in line and "a worker refused a request" in line


@pytest.mark.parametrize("said, fields, told", [("messages.1.content.0", {}, "messages.1.content.0"), ("messages.1.role", {"safe_prompt": True}, "messages.0.role"),
                                                ("messages.0.role", {"safe_prompt": True}, "safe_prompt"), ("tools", {}, "tools"), ("", {}, None)])
def test_what_a_layout_has_no_place_for_is_named_as_the_client_counts(house, worker, said, fields, told):
    def script(start, index):
        raise worker.refusal(grpc.StatusCode.INVALID_ARGUMENT, "no place for it", param=said)
        yield

    worker.reset(script)
    status, _, body = ask(house, worker, **fields)
    assert (status, body["type"], body["param"], body["message"]) == (400, "invalid_request_error", told, "no place for it")


def test_a_worker_names_the_place_that_its_layout_objects_to(house, worker, tmp_path):
    path = next(line.split("=", 1)[1].strip() for line in (ROOT / "models.ini").read_text().splitlines() if line.startswith("path"))
    (tmp_path / "models.ini").write_text(f"[old]\npath = {path}\nlayout = mistral-v1\n")
    process = subprocess.Popen([str(BUILD / "bin/bora-worker"), "--models-file", str(tmp_path / "models.ini"), "--listen", "127.0.0.1:0", "--threads", "1", "--redis", f"127.0.0.1:{house.ports['redis-limits']}",
                                "--redis-password-file", str(house.state / "secrets/redis-password")], stderr=subprocess.DEVNULL)
    try:
        until(lambda: house.send("GET", "/v1/models/old")[0] == 200, "the gateway finds the worker")
        assert house.chat(model="old")[0] == 200
        messages = [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}, {"role": "assistant", "content": ""}, {"role": "user", "content": "e"}]
        for fields in ({}, {"safe_prompt": True}):
            status, _, body = house.chat(messages, model="old", **fields)
            assert status == 400 and body["param"].startswith("messages.2"), body
            assert not body["message"].startswith("messages."), body
    finally:
        process.terminate()
        assert process.wait(30) == 0


# ---- another process under the same id ----


def test_a_worker_started_anew_with_another_model_is_noticed(house, worker):
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    try:
        worker.announce(started_at=1, name="ma")
        until(lambda: house.chat(model="ma")[0] == 200, "ma is served")
        worker.announce(started_at=2, name="mb")
        until(lambda: house.chat(model="mb")[0] == 200, "mb is served")
        status, _, body = house.chat(model="ma")
        assert status == 503 and "ma" in body["message"], body
        assert {start.model for start in worker.starts} == {"ma", "mb"}
    finally:
        worker.announce()
        until(lambda: ask(house, worker)[0] == 200, "it is itself again")


def test_a_worker_refuses_a_model_that_it_does_not_serve(house, worker):
    start = worker.pb.Start(model="another", messages=[worker.pb.ConversationMessage(content=b"Hi", role=1)])
    with LinkToWorker(house, worker) as link:
        number = link.start(start)
        assert link.last(number).failed.status == grpc.StatusCode.NOT_FOUND.value[0]


# ---- capabilities ----


def test_a_model_that_cannot_chat_is_not_asked_to(house, worker):
    worker.reset(lambda start, index: worker.text("ok", [-1]))
    try:
        worker.announce(started_at=3, capabilities=["completion_fim"])
        card = until(lambda: next((m for m in house.send("GET", "/v1/models")[2]["data"] if m["id"] == worker.MODEL and m["capabilities"]["completion_fim"]), None), "the gateway knows")
        assert not card["capabilities"]["completion_chat"]
        status, _, body = ask(house, worker)
        assert (status, body["type"], body["param"]) == (400, "invalid_model", "model") and worker.starts == [], body
    finally:
        worker.announce()
        until(lambda: ask(house, worker)[0] == 200, "it chats again")
