// Walking and folding a drawn tree, by mouse and by the keys that trees have everywhere.

export function walk(view) {
  const placeOf = (event) => view.nodes.indexOf(event.target.closest(".node"));

  view.svg.addEventListener("click", (event) => {
    const index = placeOf(event);
    if (index < 0) return;
    view.reach(index);
    view.fold(index, !view.picture.places[index].closed);
  });

  view.svg.addEventListener("keydown", (event) => {
    const index = placeOf(event);
    if (index < 0 || event.altKey || event.ctrlKey || event.metaKey) return;
    const action = actions(view, index)[event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation(); // the page's own keys are not meant
    action();
  });
}

function actions(view, index) {
  const { places } = view.picture;
  const here = places[index];
  const hasBelow = here.branch.children.length > 0;
  return {
    ArrowDown: () => view.reach(Math.min(index + 1, places.length - 1)),
    ArrowUp: () => view.reach(Math.max(index - 1, 0)),
    ArrowRight: () => (here.closed ? view.fold(index, false) : hasBelow && view.reach(index + 1)),
    ArrowLeft: () => (hasBelow && !here.closed ? view.fold(index, true) : here.parent && view.reach(here.parent.place)),
    Home: () => view.reach(0),
    End: () => view.reach(places.length - 1),
    Enter: () => view.fold(index, !here.closed),
    " ": () => view.fold(index, !here.closed),
  };
}
