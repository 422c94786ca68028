"""A page with the panel, and what is done with it."""

from __future__ import annotations

READY = '.ssb-panel[data-state="ready"]'
PATIENCE = 90_000  # [ms], for busy machines


class Watched:
    """A page, with what it complained about and what it asked of the internet."""

    def __init__(self, browser, **options):
        self.page = browser.new_page(viewport={"width": 1600, "height": 1000}, **options)
        self.page.set_default_timeout(PATIENCE)
        self.complaints, self.outside = [], []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", self._heard)
        self.page.on("request", self._asked)

    def _heard(self, message):
        if message.type == "error":
            self.complaints.append(message.text)

    def _asked(self, request):
        if request.url.startswith("http") and "//127.0.0.1:" not in request.url:
            self.outside.append(request.url)

    def ready(self):
        self.page.wait_for_selector(READY)
        self.page.evaluate(
            """() => { window.frames_seen = [];
            addEventListener("ssb-frame", (event) => frames_seen.push(event.detail)); }"""
        )
        return self

    def frame_after(self, action):
        """Do something, and return what is told of the last frame that follows it."""
        before = self.page.evaluate("frames_seen.length")
        action()
        self.page.wait_for_function("n => frames_seen.length > n", arg=before)
        self.page.wait_for_selector('.ssb-panel[data-busy="false"]')
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
        return self.page.evaluate("frames_seen[frames_seen.length - 1]")

    def image(self):
        return self.page.evaluate("document.querySelector('canvas.image').toDataURL()")

    def text_of(self, name):
        return self.page.locator(f'[data-name="{name}"] input[type=text]')

    def type(self, name, value):
        def action():
            self.text_of(name).fill(str(value))
            self.text_of(name).press("Enter")

        return action

    def drag(self, name, part):
        """Drag a slider from where it is to a part of its width."""
        box = self.page.locator(f'[data-name="{name}"] input[type=range]').bounding_box()
        y = box["y"] + box["height"] / 2

        def action():
            mouse = self.page.mouse
            mouse.move(box["x"] + box["width"] / 2, y)
            mouse.down()
            mouse.move(box["x"] + part * box["width"], y, steps=8)
            mouse.up()

        return action

    def message(self):
        return self.page.locator(".ssb-panel .message").inner_text()

    def click(self, action):
        self.page.click(f'.ssb-panel [data-action="{action}"]')
