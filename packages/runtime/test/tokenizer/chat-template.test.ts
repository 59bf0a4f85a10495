import { describe, expect, it } from "vitest";
import { ChatTemplate } from "../../src/tokenizer/chat-template.js";
import { runLimited } from "../../src/tokenizer/time-limit.js";

describe("a chat template", () => {
  it("renders", () => {
    const template = new ChatTemplate(
      "{% for message in messages %}<{{ message.role }}>{{ message.content }}{% endfor %}",
    );
    expect(template.render([{ role: "user", content: "hi" }], true, {})).toBe("<user>hi");
  });

  it("that does not end is stopped, and the next one renders", () => {
    const endless = "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}";
    expect(() => new ChatTemplate(endless).render([], true, {})).toThrowError(/to end within/);
    expect(new ChatTemplate("fine").render([], true, {})).toBe("fine");
  }, 20_000);

  it("has its limit kept by the work itself", () => {
    expect(runLimited(() => 7, 100)).toBe(7);
    expect(() =>
      runLimited(() => {
        for (;;);
      }, 50),
    ).toThrowError(/timed out/);
  });
});
