// Shows one position of a picture at a time. `host` holds an image of it, which stays where this cannot run.
async (host, packed) => {
  if (host.shadowRoot || !window.DecompressionStream || !CSS.supports('color', 'light-dark(red, red)')) return;
  const bytes = Uint8Array.from(atob(packed), (letter) => letter.charCodeAt(0));
  const inflated = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  const data = await new Response(inflated).json();

  // A shadow tree hides the image, and keeps our style and that of the page apart.
  const root = host.attachShadow({ mode: 'open' });
  root.innerHTML = data.html;
  const svg = root.querySelector('svg');
  const groups = [...svg.querySelectorAll(':scope > g')].slice(1);
  const slider = root.querySelector('input');
  const output = root.querySelector('output');

  const drawn = (differences) => {
    let element = 0;
    return differences.map((difference) => data.elements[(element += difference)]).join('');
  };
  let current = [];
  const show = (frame) => {
    const shown = data.shown[frame];
    groups.forEach((group, i) => {
      if (shown[i] !== current[i]) group.innerHTML = drawn(data.drawn[shown[i]]);
    });
    current = shown;
    const finding = data.texts[data.findings[frame]];
    svg.setAttribute('aria-label', finding);
    if (!slider) return;
    output.textContent = data.positions[frame];
    slider.setAttribute('aria-valuetext', `${data.word} ${data.positions[frame]}: ${finding}`);
  };
  if (slider) {
    slider.oninput = () => show(slider.valueAsNumber);
    svg.onclick = () => slider.focus({ preventScroll: true });
    host.setAttribute('data-lm-suppress-shortcuts', 'true'); // JupyterLab leaves the arrow keys to the slider
  }
  show(slider ? slider.valueAsNumber : 0);

  // The theme is that of the page around, until the button is pressed.
  const scope = host.closest('.viz-page') ?? host;
  const night = matchMedia('(prefers-color-scheme: dark)');
  const button = root.querySelector('button');
  const isDark = () => {
    const scheme = getComputedStyle(host).colorScheme;
    return scheme.includes('dark') && (night.matches || !scheme.includes('light'));
  };
  const name = () => (button.textContent = isDark() ? 'Light theme' : 'Dark theme');
  const jupyter = document.body.dataset.jpThemeLight;
  if (jupyter) host.style.colorScheme = jupyter === 'true' ? 'light' : 'dark';
  button.onclick = () => {
    scope.style.colorScheme = isDark() ? 'light' : 'dark';
    name();
  };
  night.onchange = name;
  name();
}
